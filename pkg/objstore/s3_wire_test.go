package objstore_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

// An empty key is refused: it would be the bucket itself, which a DELETE removes.
func TestS3RefusesTheEmptyKey(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request went out") }))
	defer h.Close()
	s := open(t, h.URL, "logs")
	_, err := s.Put(t.Context(), "", strings.NewReader("x"), objstore.PutOptions{})
	require.ErrorIs(t, err, objstore.ErrInvalid)
	_, _, err = s.Get(t.Context(), "")
	require.ErrorIs(t, err, objstore.ErrInvalid)
	_, err = s.Head(t.Context(), "")
	require.ErrorIs(t, err, objstore.ErrInvalid)
	require.ErrorIs(t, s.Delete(t.Context(), ""), objstore.ErrInvalid)
}

// A wrong clock costs one request, and one more when it is right again.
func TestS3FollowsTheStoresClock(t *testing.T) {
	const off = 3 * time.Hour
	var ahead atomic.Int64
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().Add(time.Duration(ahead.Load())).UTC()
		w.Header().Set("Date", now.Format(http.TimeFormat))
		w.Header().Set("Etag", `"e"`)
		if signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date")); err != nil || now.Sub(signed).Abs() > 15*time.Minute {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>RequestTimeTooSkewed</Code></Error>")
		} else if r.Method == http.MethodHead {
			w.Header().Set("Content-Length", "4")
		}
	}))
	defer h.Close()
	s := open(t, h.URL, "logs")
	for _, by := range []time.Duration{0, off, -off, 0} {
		changed := ahead.Swap(int64(by)) != int64(by)
		err := do(t.Context(), s, "put")
		if changed {
			require.ErrorIs(t, err, objstore.ErrDenied)
			require.ErrorContains(t, err, "RequestTimeTooSkewed")
		} else {
			require.NoError(t, err)
		}
		require.NoError(t, do(t.Context(), s, "put"))
		require.NoError(t, do(t.Context(), s.At("other", "", staticCredentials), "head"), "other buckets do not share the clock")
	}
}

// The clock of a proxy is not followed: it may be wrong while the store's is right.
func TestS3IgnoresProxyClocks(t *testing.T) {
	for hazard, off := range map[string]time.Duration{"behind": -3 * time.Hour, "ahead": 3 * time.Hour} {
		t.Run(hazard, func(t *testing.T) {
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
				w.Header().Set("Etag", `"e"`)
				if signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date")); err != nil || time.Since(signed).Abs() > 15*time.Minute {
					w.WriteHeader(http.StatusForbidden)
					_, _ = io.WriteString(w, "<Error><Code>RequestTimeTooSkewed</Code></Error>")
				} else if r.URL.Path == "/denied/k" {
					w.WriteHeader(http.StatusForbidden)
				} else if r.Method == http.MethodHead {
					w.Header().Set("Content-Length", "4")
				}
			}))
			defer h.Close()
			s := open(t, h.URL, "logs")
			denied := s.At("denied", "", staticCredentials)
			for _, op := range []string{"put", "head", "delete"} {
				require.NoError(t, do(t.Context(), s, op), op)
			}
			require.ErrorIs(t, do(t.Context(), denied, "put"), objstore.ErrDenied)
			require.NoError(t, do(t.Context(), s, "put"), "it was not the time")
			// The refusal of a HEAD does not say why.
			require.ErrorIs(t, do(t.Context(), denied, "head"), objstore.ErrDenied)
			require.ErrorContains(t, do(t.Context(), s, "put"), "RequestTimeTooSkewed")
			require.NoError(t, do(t.Context(), s, "put"), "one request")
		})
	}
}

// Whichever checksum S3 keeps of an object, it is compared with the bytes.
func TestS3ChecksumsOfReads(t *testing.T) {
	const content = "some bytes"
	sum := func(h hash.Hash) string {
		_, _ = io.WriteString(h, content)
		return base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	for header, good := range map[string]string{
		"x-amz-checksum-crc32":     sum(crc32.NewIEEE()),
		"x-amz-checksum-crc32c":    sum(crc32.New(crc32.MakeTable(crc32.Castagnoli))),
		"x-amz-checksum-crc64nvme": sum(crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5))),
		"x-amz-checksum-sha1":      sum(sha1.New()),
		"x-amz-checksum-sha256":    sum(sha256.New()),
	} {
		for hazard, c := range map[string]struct {
			sum, bytes string
			bad        bool
		}{
			"whole":    {good, content, false},
			"damaged":  {good, "some bytez", true},
			"short":    {good, "some byte", true},
			"of_parts": {"AAAAAA==-3", content, false},
			"none":     {"", content, false},
		} {
			t.Run(header+"/"+hazard, func(t *testing.T) {
				h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" {
						w.Header().Set(header, c.sum)
					}
					_, _ = io.WriteString(w, c.bytes)
				}))
				defer h.Close()
				r, _, err := open(t, h.URL, "logs").Get(t.Context(), "key")
				require.NoError(t, err)
				_, err = io.ReadAll(r)
				require.NoError(t, r.Close())
				if c.bad {
					require.ErrorIs(t, err, objstore.ErrUnavailable)
					return
				}
				require.NoError(t, err)
			})
		}
	}
	// The known answer in S3's documentation of CRC-64/NVME.
	nvme := crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5))
	_, _ = io.WriteString(nvme, "123456789")
	require.Equal(t, "ae8b14860a799888", fmt.Sprintf("%x", nvme.Sum(nil)))
}

// An error in an answer with status 200, as S3 may send, is an error.
func TestS3ErrorsIn200(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>")
	}))
	defer h.Close()
	for _, op := range []string{"put", "delete", "list"} {
		err := do(t.Context(), open(t, h.URL, "logs"), op)
		require.ErrorIs(t, err, objstore.ErrUnavailable, op)
	}
}

// Whatever the answer, the connection is reused.
func TestS3KeepsConnections(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"empty": func(http.ResponseWriter, *http.Request) {},
		"exists": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<Error><Code>PreconditionFailed</Code></Error>", http.StatusPreconditionFailed)
		},
		"large_error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20))
		},
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<ListBucketResult>")
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "</ListBucketResult>\n\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				answer(w, r)
			}))
			defer h.Close()
			s := open(t, h.URL, "logs")
			var connections atomic.Int64
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
				if !c.Reused {
					connections.Add(1)
				}
			}})
			for range 3 {
				for _, op := range []string{"put", "head", "delete", "list"} {
					_ = do(ctx, s, op)
				}
			}
			// net/http does not keep a connection if it was still writing the request 50 ms after
			// the answer.
			require.Less(t, connections.Load(), int64(4), "of 12 requests")
		})
	}
}
