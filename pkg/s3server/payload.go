package s3server

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// payload is the body of a request, decoded from aws-chunked and verified. Once it has returned
// io.EOF, the body is known to be as signed, and the trailers are known.
type payload struct {
	io.Reader
	size     int64             // of the decoded body
	trailers map[string]string // by lower-case name; known after EOF
}

// Errors returned by a payload's Read.
var (
	errPayloadHash = apiErrorf(http.StatusBadRequest, "XAmzContentSHA256Mismatch",
		"The provided 'x-amz-content-sha256' header does not match what was computed.")
	errChunkSignature = apiErrorf(http.StatusForbidden, "SignatureDoesNotMatch", "The signature of a chunk does not match.")
	errIncomplete     = apiErrorf(http.StatusBadRequest, "IncompleteBody", "The request body terminated unexpectedly")
	errChunk          = apiErrorf(http.StatusBadRequest, "InvalidRequest", "The body is not in aws-chunked form.")
)

const maxObject = 5 << 30 // for a single PUT

// body opens the payload of a request.
func (r *request) body() (*payload, *apiError) {
	p := &payload{size: r.ContentLength}
	chunked := strings.HasPrefix(r.auth.payload, streamPrefix)
	if chunked {
		size, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || size < 0 {
			return nil, apiErrorf(http.StatusLengthRequired, "MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header.")
		}
		p.size = size
	}
	switch {
	case p.size < 0:
		return nil, apiErrorf(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
	case p.size > maxObject:
		return nil, apiErrorf(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	switch how := r.auth.payload; how {
	case unsignedPayload:
		p.Reader = &exactReader{r: r.Body, left: p.size}
	case "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
		c := &chunkReader{in: bufio.NewReaderSize(r.Body, 64<<10), payload: p, trailer: strings.HasSuffix(how, "-TRAILER")}
		if how != "STREAMING-UNSIGNED-PAYLOAD-TRAILER" {
			c.auth, c.previous, c.sum = &r.auth, r.auth.signature, sha256.New()
		}
		p.Reader = &exactReader{r: c, left: p.size}
	default:
		if raw, err := hex.DecodeString(how); err != nil || len(raw) != sha256.Size {
			return nil, invalidArgument("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- value, or a valid sha256 value.")
		}
		p.Reader = &hashedReader{r: &exactReader{r: r.Body, left: p.size}, sum: sha256.New(), want: how}
	}
	return p, nil
}

// exactReader requires a length.
type exactReader struct {
	r    io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.left -= int64(n)
	if e.left < 0 || err == io.EOF && e.left > 0 || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, errIncomplete
	}
	return n, err
}

// hashedReader requires a checksum.
type hashedReader struct {
	r    io.Reader
	sum  hash.Hash
	want string
}

func (h *hashedReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(h.sum.Sum(nil)) != strings.ToLower(h.want) {
		return n, errPayloadHash
	}
	return n, err
}

// chunkReader decodes aws-chunked:
//
//	{hex size}[;chunk-signature={hex}]\r\n{bytes}\r\n … 0[;…]\r\n {trailers} \r\n
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and
// sigv4-streaming-trailers.html.
type chunkReader struct {
	in      *bufio.Reader
	payload *payload
	trailer bool
	left    int64 // of the current chunk
	done    bool

	// Only used if chunks are signed. Each signature includes the previous one.
	auth      *authentication
	previous  string
	signature string // of the current chunk, as stated
	sum       hash.Hash
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	if c.left == 0 {
		if err := c.nextChunk(); err != nil {
			return 0, asIncomplete(err)
		}
		if c.left == 0 {
			c.done = true
			if err := c.end(); err != nil {
				return 0, asIncomplete(err)
			}
			return 0, io.EOF
		}
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.auth != nil {
		c.sum.Write(p[:n])
	}
	if err == nil && c.left == 0 {
		err = c.endChunk()
	}
	return n, asIncomplete(err)
}

// nextChunk reads the line at the start of a chunk.
func (c *chunkReader) nextChunk() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	size, extension, _ := strings.Cut(line, ";")
	if c.left, err = strconv.ParseInt(size, 16, 64); err != nil || c.left < 0 {
		return errChunk
	}
	c.signature, _ = strings.CutPrefix(extension, "chunk-signature=")
	return nil
}

// endChunk reads the line end after a chunk's bytes, and verifies the chunk's signature.
func (c *chunkReader) endChunk() error {
	if line, err := c.line(); err != nil {
		return err
	} else if line != "" {
		return errChunk
	}
	return c.verifyChunk()
}

func (c *chunkReader) verifyChunk() error {
	if c.auth == nil {
		return nil
	}
	data := hex.EncodeToString(c.sum.Sum(nil))
	c.sum.Reset()
	return c.verify("AWS4-HMAC-SHA256-PAYLOAD", c.signature, emptySHA256+"\n"+data)
}

func (c *chunkReader) verify(algorithm, stated, rest string) error {
	toSign := strings.Join([]string{algorithm, c.auth.time, c.auth.scope, c.previous, rest}, "\n")
	want := hex.EncodeToString(mac(c.auth.signingKey, toSign))
	if !hmac.Equal([]byte(want), []byte(stated)) {
		return errChunkSignature
	}
	c.previous = want
	return nil
}

// end reads what follows the last, empty chunk.
func (c *chunkReader) end() error {
	if err := c.verifyChunk(); err != nil {
		return err
	}
	c.payload.trailers = map[string]string{}
	var canonical strings.Builder
	var stated string
	for {
		line, err := c.line()
		if errors.Is(err, io.EOF) && line == "" || err == nil && line == "" {
			break
		}
		if err != nil {
			return err
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !ok || !c.trailer || len(c.payload.trailers) > 16 {
			return errChunk
		}
		if name == "x-amz-trailer-signature" {
			stated = value
			continue
		}
		c.payload.trailers[name] = value
		canonical.WriteString(name + ":" + value + "\n")
	}
	if c.auth != nil && c.trailer {
		return c.verify("AWS4-HMAC-SHA256-TRAILER", stated, hashHex(canonical.String()))
	}
	return nil
}

// line reads a line of limited length, without its line end.
func (c *chunkReader) line() (string, error) {
	raw, err := c.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(raw) > 4096 {
		return "", errChunk
	}
	return strings.TrimRight(string(raw), "\r\n"), err
}

// asIncomplete turns io.EOF into an error, because the body may not end here.
func asIncomplete(err error) error {
	if errors.Is(err, io.EOF) {
		return errIncomplete
	}
	return err
}
