package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCredentialsInAddressesAreMasked(t *testing.T) {
	for text, want := range map[string]string{
		"user:sEcReT@kafka:9092":                  "***@kafka:9092",
		"SASL_SSL://user:sE/cR@eT@kafka:9092":     "SASL_SSL://***@kafka:9092",
		"https://sEcReT@minio:9000":               "https://***@minio:9000",
		"https://minio/b?X-Amz-Signature=sEcReT":  "https://minio/b?***",
		"https://minio:9000":                      "https://minio:9000",
		"localhost:9092":                          "localhost:9092",
		"alice@example.com":                       "alice@example.com", // looks like an address, but has no password
		"arn:aws:iam::123456789012:role/a@b":      "arn:aws:iam::123456789012:role/a@b",
		"json:context.source?":                    "json:context.source?",
		"":                                        "",
		"http://[::1]:9000":                       "http://[::1]:9000",
		"https://user:p@ss/w?rd@minio.example:99": "https://***@minio.example:99",
	} {
		require.Equal(t, want, withoutCredentials(text))
	}
}
