package s3server

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// The example of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html.
const (
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	exampleSeed   = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	exampleSize   = 65536 + 1024
)

func exampleAuth() authentication {
	c := &claim{date: "20130524", region: "us-east-1", service: "s3"}
	return authentication{
		payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", signingKey: signingKey(exampleSecret, c),
		scope: c.scope(), time: "20130524T000000Z", signature: exampleSeed,
	}
}

func exampleBody() string {
	a := func(n int) string { return strings.Repeat("a", n) }
	return "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + a(65536) + "\r\n" +
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + a(1024) + "\r\n" +
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
}

func bodyOf(t *testing.T, auth authentication, raw io.Reader, length, decoded int) *payload {
	t.Helper()
	hr := httptest.NewRequest(http.MethodPut, "/b/k", raw)
	hr.ContentLength = int64(length)
	if decoded >= 0 {
		hr.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(decoded))
	}
	p, failed := (&request{Request: hr, auth: auth}).body()
	require.Nil(t, failed)
	return p
}

func TestSignedChunks(t *testing.T) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole":       func(r io.Reader) io.Reader { return r },
		"byte_a_byte": iotest.OneByteReader,
		"data_err":    iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			p := bodyOf(t, exampleAuth(), wrap(strings.NewReader(exampleBody())), len(exampleBody()), exampleSize)
			got, err := io.ReadAll(p)
			require.NoError(t, err)
			require.Equal(t, strings.Repeat("a", exampleSize), string(got))
		})
	}
}

func TestChunksRefused(t *testing.T) {
	plain := authentication{payload: "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
	for name, c := range map[string]struct {
		auth    authentication
		body    string
		decoded int
		want    error
	}{
		"changed_byte":       {exampleAuth(), strings.Replace(exampleBody(), "aaa\r\n400", "aba\r\n400", 1), exampleSize, errChunkSignature},
		"changed_signature":  {exampleAuth(), strings.Replace(exampleBody(), "=ad80", "=ad81", 1), exampleSize, errChunkSignature},
		"last_chunk_missing": {exampleAuth(), exampleBody()[:strings.Index(exampleBody(), "0;chunk-signature=b6")], exampleSize, errIncomplete},
		"cut_in_a_chunk":     {exampleAuth(), exampleBody()[:70000-4000], exampleSize, errIncomplete},
		"less_than_declared": {plain, "3\r\nabc\r\n0\r\n\r\n", 4, errIncomplete},
		"more_than_declared": {plain, "3\r\nabc\r\n0\r\n\r\n", 2, errIncomplete},
		"not_hex":            {plain, "zz\r\nabc\r\n0\r\n\r\n", 3, errChunk},
		"negative":           {plain, "-3\r\nabc\r\n0\r\n\r\n", 3, errChunk},
		"no_line_end":        {plain, "3\r\nabcd\r\n0\r\n\r\n", 3, errChunk},
		"endless_line":       {plain, strings.Repeat("0", 1<<20), 3, errChunk},
		"empty":              {plain, "", 3, errIncomplete},
		"trailer_not_meant":  {exampleAuthOf("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), strings.TrimSuffix(exampleBody(), "\r\n") + "x-amz-meta-a:b\r\n\r\n", exampleSize, errChunk},
		"trailer_no_colon":   {plain, "3\r\nabc\r\n0\r\nnonsense\r\n\r\n", 3, errChunk},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := io.ReadAll(bodyOf(t, c.auth, strings.NewReader(c.body), len(c.body), c.decoded))
			require.ErrorIs(t, err, c.want)
		})
	}
}

func exampleAuthOf(payload string) authentication {
	a := exampleAuth()
	a.payload = payload
	return a
}

func TestTrailers(t *testing.T) {
	body := "3\r\nabc\r\n0\r\nX-Amz-Checksum-Crc32: NSRBwg==\r\n\r\n"
	p := bodyOf(t, authentication{payload: "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, strings.NewReader(body), len(body), 3)
	got, err := io.ReadAll(p)
	require.NoError(t, err)
	require.Equal(t, "abc", string(got))
	require.Equal(t, map[string]string{"x-amz-checksum-crc32": "NSRBwg=="}, p.trailers)
}

func TestSignedPayloadHash(t *testing.T) {
	right := authentication{payload: hashHex("abc")}
	got, err := io.ReadAll(bodyOf(t, right, strings.NewReader("abc"), 3, -1))
	require.NoError(t, err)
	require.Equal(t, "abc", string(got))
	_, err = io.ReadAll(bodyOf(t, right, strings.NewReader("abd"), 3, -1))
	require.ErrorIs(t, err, errPayloadHash)
	_, err = io.ReadAll(bodyOf(t, right, strings.NewReader("ab"), 3, -1))
	require.ErrorIs(t, err, errIncomplete)
}

// Checksums have the check values in the Catalogue of parametrised CRC algorithms.
func TestChecksumAlgorithms(t *testing.T) {
	for name, want := range map[string]string{
		"crc32": "cbf43926", "crc32c": "e3069283", "crc64nvme": "ae8b14860a799888",
		"sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441", "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	} {
		h := algorithms[name]()
		h.Write([]byte("123456789"))
		require.Equal(t, want, fmt.Sprintf("%x", h.Sum(nil)), name)
	}
}

func TestDigests(t *testing.T) {
	sum := crc32.ChecksumIEEE([]byte("abc"))
	right := base64.StdEncoding.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	md5OfABC := "kAFQmDzST7DWlj99KOF/cg=="
	for name, c := range map[string]struct {
		header   map[string]string
		trailers map[string]string
		refused  string // the code, before the body is read
		failed   string // the code, after the body is read
	}{
		"none":              {},
		"right":             {header: map[string]string{"X-Amz-Checksum-Crc32": right, "Content-Md5": md5OfABC}},
		"wrong":             {header: map[string]string{"X-Amz-Checksum-Crc32": "AAAAAA=="}, failed: "BadDigest"},
		"wrong_md5":         {header: map[string]string{"Content-Md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, failed: "BadDigest"},
		"malformed":         {header: map[string]string{"X-Amz-Checksum-Crc32": "AAAA"}, refused: "InvalidRequest"},
		"malformed_md5":     {header: map[string]string{"Content-Md5": "abc"}, refused: "InvalidDigest"},
		"unknown":           {header: map[string]string{"X-Amz-Checksum-Md6": "AAAA"}, refused: "InvalidRequest"},
		"two":               {header: map[string]string{"X-Amz-Checksum-Crc32": right, "X-Amz-Checksum-Sha1": "x"}, refused: "InvalidRequest"},
		"trailer_right":     {header: map[string]string{"X-Amz-Trailer": "x-amz-checksum-crc32"}, trailers: map[string]string{"x-amz-checksum-crc32": right}},
		"trailer_wrong":     {header: map[string]string{"X-Amz-Trailer": "x-amz-checksum-crc32"}, trailers: map[string]string{"x-amz-checksum-crc32": "AAAAAA=="}, failed: "BadDigest"},
		"trailer_missing":   {header: map[string]string{"X-Amz-Trailer": "x-amz-checksum-crc32"}, failed: "BadDigest"},
		"trailer_of_others": {header: map[string]string{"X-Amz-Trailer": "x-amz-meta-a"}, refused: "InvalidRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			hr := httptest.NewRequest(http.MethodPut, "/b/k", nil)
			for k, v := range c.header {
				hr.Header.Set(k, v)
			}
			d, refused := newDigests(&request{Request: hr})
			if c.refused != "" {
				require.NotNil(t, refused)
				require.Equal(t, c.refused, refused.code)
				return
			}
			require.Nil(t, refused)
			_, err := io.WriteString(d.writer(io.Discard), "abc")
			require.NoError(t, err)
			failed := d.verify(c.trailers)
			if c.failed == "" {
				require.Nil(t, failed)
				return
			}
			require.NotNil(t, failed)
			require.Equal(t, c.failed, failed.code)
		})
	}
}

// Whatever a client sends as chunks, nothing panics, and more bytes than declared are an error.
func FuzzChunks(f *testing.F) {
	f.Add([]byte(exampleBody()), 10, true)
	f.Add([]byte("3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n"), 3, false)
	f.Fuzz(func(t *testing.T, raw []byte, decoded int, signed bool) {
		if decoded < 0 || decoded > 1<<20 {
			return
		}
		auth := authentication{payload: "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
		if signed {
			auth = exampleAuth()
		}
		got, err := io.ReadAll(bodyOf(t, auth, bytes.NewReader(raw), len(raw), decoded))
		if err == nil && len(got) != decoded {
			t.Fatalf("%d bytes taken, %d declared", len(got), decoded)
		}
		var refused *apiError
		if err != nil && !errors.As(err, &refused) {
			t.Fatalf("an error without a code: %v", err)
		}
	})
}
