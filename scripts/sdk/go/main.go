// Command go sends the calls of a file through Segment's analytics-go, for
// the tests of the collector.
//
// Usage: go URL WRITE_KEY CALLS ROUNDS; it prints what it sent as JSON.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/segmentio/analytics-go/v3"
)

const sdk = "segment-go"

func main() {
	log.SetFlags(0)
	log.SetPrefix(sdk + ": ")
	if len(os.Args) != 5 {
		log.Fatal("usage: go URL WRITE_KEY CALLS ROUNDS")
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}

// object is JSON that keeps its numbers as written.
type object map[string]any

func run(url, key, calls, rounds string) error {
	text, err := os.ReadFile(calls)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(rounds)
	if err != nil {
		return err
	}
	taken := make(outcomes)
	client, err := analytics.NewWithConfig(key, analytics.Config{
		Endpoint: url, BatchSize: 50, Interval: 200 * time.Millisecond, Logger: analytics.StdLogger(log.Default()), Callback: taken,
	})
	if err != nil {
		return err
	}
	var sent []object
	start := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	for round := range n {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		var templates []object
		if err := dec.Decode(&templates); err != nil {
			return err
		}
		for i, call := range templates {
			count := round*len(templates) + i
			at := start.Add(time.Duration(count) * time.Millisecond)
			call["messageId"] = fmt.Sprintf("%s-%d", sdk, count)
			if properties, ok := call["properties"].(map[string]any); ok {
				properties["big"] = json.Number("9007199254740993")
			}
			if err := client.Enqueue(message(call, at)); err != nil {
				return err
			}
			call["timestamp"] = at
			sent = append(sent, call)
		}
	}
	// Close drops what is being retried: wait first.
	for range sent {
		if err := <-taken; err != nil {
			return fmt.Errorf("a message was dropped: %w", err)
		}
	}
	if err := client.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(object{"sdk": sdk, "version": version(), "library": "analytics-go", "messages": sent})
}

func message(call object, at time.Time) analytics.Message {
	text := func(name string) string { s, _ := call[name].(string); return s }
	members := func(name string) map[string]any { m, _ := call[name].(map[string]any); return m }
	var context *analytics.Context
	if extra := members("context"); extra != nil {
		context = &analytics.Context{Extra: extra}
	}
	id, user, anonymous, integrations := text("messageId"), text("userId"), text("anonymousId"), analytics.Integrations(members("integrations"))
	switch text("type") {
	case "identify":
		return analytics.Identify{MessageId: id, UserId: user, AnonymousId: anonymous, Timestamp: at, Context: context, Integrations: integrations, Traits: members("traits")}
	case "track":
		return analytics.Track{MessageId: id, UserId: user, AnonymousId: anonymous, Timestamp: at, Context: context, Integrations: integrations, Event: text("event"), Properties: members("properties")}
	case "page":
		return analytics.Page{MessageId: id, UserId: user, AnonymousId: anonymous, Timestamp: at, Context: context, Integrations: integrations, Name: text("name"), Properties: members("properties")}
	case "screen":
		return analytics.Screen{MessageId: id, UserId: user, AnonymousId: anonymous, Timestamp: at, Context: context, Integrations: integrations, Name: text("name"), Properties: members("properties")}
	case "group":
		return analytics.Group{MessageId: id, UserId: user, AnonymousId: anonymous, Timestamp: at, Context: context, Integrations: integrations, GroupId: text("groupId"), Traits: members("traits")}
	default:
		return analytics.Alias{MessageId: id, UserId: user, PreviousId: text("previousId"), Timestamp: at, Context: context, Integrations: integrations}
	}
}

// outcomes receives nil for each message that was taken, and why for each
// that the SDK gave up.
type outcomes chan error

func (o outcomes) Success(analytics.Message) { o <- nil }

func (o outcomes) Failure(_ analytics.Message, err error) { o <- err }

// version returns the SDK's, as built in: its own constant lags behind.
func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == "github.com/segmentio/analytics-go/v3" {
			return dep.Version
		}
	}
	return "unknown"
}
