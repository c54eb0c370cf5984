// Package gziptest compresses and decompresses text in memory, with the standard library. It is only
// for tests.
//
// It promises that Unzip reads all members, and fails the test if one of them is damaged.
package gziptest

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// Zip returns text as a gzip member.
func Zip(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text) // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

// Unzip returns the text of all members.
func Unzip(t testing.TB, r io.Reader) string {
	t.Helper()
	z, err := gzip.NewReader(r)
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	return string(text)
}
