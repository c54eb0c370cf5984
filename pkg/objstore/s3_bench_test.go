package objstore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/secret"
)

// answering is a server that costs next to nothing: it reads requests and reports success, with a
// body of size bytes for a GET.
func answering(b *testing.B, size int) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() })
	const described = "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nLast-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\nX-Amz-Request-Id: 0123456789ABCDEF\r\n" +
		"X-Amz-Id-2: abcdefghijklmnopqrstuvwxyz\r\nServer: AmazonS3\r\nEtag: \"0123456789abcdef0123456789abcdef\"\r\nX-Amz-Server-Side-Encryption: AES256\r\n"
	put := []byte(described + "Content-Length: 0\r\n\r\n")
	head := []byte(described + "Content-Type: application/octet-stream\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n")
	get := append(bytes.Clone(head), make([]byte, size)...)
	serve := func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReaderSize(c, 32<<10)
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			answer := put
			switch line[0] {
			case 'G':
				answer = get
			case 'H':
				answer = head
			}
			length := 0
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) <= 2 {
					break
				}
				if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
					length, _ = strconv.Atoi(textproto.TrimString(string(v)))
				}
			}
			if _, err := r.Discard(length); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return "http://" + l.Addr().String()
}

// BenchmarkS3 compares our requests with those of the SDK's client, and with the least that
// net/http takes: unsigned, with almost no headers. Bodies are 11 kB, like a small file. µs are CPU
// time of both sides.
func BenchmarkS3(b *testing.B) {
	content := make([]byte, 11<<10)
	sum := sha256.Sum256(content)
	endpoint := answering(b, len(content))
	client := NewHTTPClient(nil)
	b.Cleanup(client.CloseIdleConnections)
	store := NewS3(S3Config{
		Bucket: "logs", Region: "us-east-1", Endpoint: endpoint, PathStyle: true, HTTPClient: client,
		Credentials: func(context.Context) (Credentials, error) {
			return Credentials{AccessKeyID: "AKIATESTTESTTESTTEST", SecretAccessKey: secret.New("secret")}, nil
		},
	})
	const key = "segment-logs/qv5iYYMxd94DahFpRzm58y/1795305600000/1795377343564.503a85507168.c7ff69d.6b60c617-85c9-5d6d-bf31-b8f0f06cc2be.gz"
	opts := PutOptions{IfAbsent: true, SHA256: sum, ContentType: "text/plain", ContentEncoding: "gzip", ServerSideEncryption: "AES256", Metadata: map[string]string{
		"topic": "sealift.events", "partition": "3", "first-offset": "1", "last-offset": "100", "records": "100", "sha256": strings.Repeat("0", 64),
	}}
	bare := func(b *testing.B, method string, body []byte) {
		r, err := http.NewRequestWithContext(b.Context(), method, endpoint+"/logs/"+key, bytes.NewReader(body))
		require.NoError(b, err)
		answer, err := client.Do(r)
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, answer.Body)
		require.NoError(b, err)
		require.NoError(b, answer.Body.Close())
	}
	options := s3.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, HTTPClient: client, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIATESTTESTTESTTEST", "secret", ""), EndpointResolverV2: &cachedEndpoints{next: s3.NewDefaultEndpointResolverV2()},
	}
	sdk := s3.New(options, s3.WithAPIOptions(v4Payload(hex.EncodeToString(sum[:]))))
	sdkRead := s3.New(options)
	for _, c := range []struct {
		name string
		do   func(b *testing.B)
	}{
		{"PUT/bare", func(b *testing.B) { bare(b, http.MethodPut, content) }},
		{"PUT/sdk", func(b *testing.B) {
			_, err := sdk.PutObject(b.Context(), &s3.PutObjectInput{
				Bucket: aws.String("logs"), Key: aws.String(key), Body: bytes.NewReader(content), ContentLength: aws.Int64(int64(len(content))),
				ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])), IfNoneMatch: aws.String("*"), ContentType: &opts.ContentType,
				ContentEncoding: &opts.ContentEncoding, ServerSideEncryption: types.ServerSideEncryption(opts.ServerSideEncryption), Metadata: opts.Metadata,
			})
			require.NoError(b, err)
		}},
		{"PUT/store", func(b *testing.B) {
			_, err := store.Put(b.Context(), key, bytes.NewReader(content), opts)
			require.NoError(b, err)
		}},
		{"GET/bare", func(b *testing.B) { bare(b, http.MethodGet, nil) }},
		{"GET/sdk", func(b *testing.B) {
			answer, err := sdkRead.GetObject(b.Context(), &s3.GetObjectInput{Bucket: aws.String("logs"), Key: aws.String(key)})
			require.NoError(b, err)
			_, err = io.Copy(io.Discard, answer.Body)
			require.NoError(b, err)
			require.NoError(b, answer.Body.Close())
		}},
		{"GET/store", func(b *testing.B) {
			r, _, err := store.Get(b.Context(), key)
			require.NoError(b, err)
			_, err = io.Copy(io.Discard, r)
			require.NoError(b, err)
			require.NoError(b, r.Close())
		}},
		{"HEAD/bare", func(b *testing.B) { bare(b, http.MethodHead, nil) }},
		{"HEAD/sdk", func(b *testing.B) {
			_, err := sdkRead.HeadObject(b.Context(), &s3.HeadObjectInput{Bucket: aws.String("logs"), Key: aws.String(key)})
			require.NoError(b, err)
		}},
		{"HEAD/store", func(b *testing.B) {
			_, err := store.Head(b.Context(), key)
			require.NoError(b, err)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			c.do(b)
			before := cpu(b)
			for b.Loop() {
				c.do(b)
			}
			b.ReportMetric(float64(cpu(b)-before)/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}

// cachedEndpoints spares the SDK's client the endpoint rules, which cost as much as half a request.
type cachedEndpoints struct {
	next  s3.EndpointResolverV2
	known *smithyendpoints.Endpoint
}

// ResolveEndpoint implements s3.EndpointResolverV2.
func (r *cachedEndpoints) ResolveEndpoint(ctx context.Context, p s3.EndpointParameters) (smithyendpoints.Endpoint, error) {
	if r.known == nil {
		found, err := r.next.ResolveEndpoint(ctx, p)
		if err != nil {
			return found, err
		}
		r.known = &found
	}
	return *r.known, nil
}

// cpu returns the process's CPU time in ns.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}
