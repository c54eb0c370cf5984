//go:build !rudder

package main

import (
	"time"

	sdk "github.com/segmentio/analytics-go/v3"
)

const name = "segment-go"

func open(url, key string, results outcomes) (client, error) {
	return sdk.NewWithConfig(key, sdk.Config{
		Endpoint: url, BatchSize: 50, Interval: 200 * time.Millisecond, Callback: results,
		RetryAfter: func(int) time.Duration { return 5 * time.Second }, // ten attempts
	})
}

type (
	client   = sdk.Client
	message  = sdk.Message
	context  = sdk.Context
	identify = sdk.Identify
	track    = sdk.Track
	page     = sdk.Page
	screen   = sdk.Screen
	group    = sdk.Group
	alias    = sdk.Alias
)
