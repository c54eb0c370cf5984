//go:build stack

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/delivery"
)

// putLoop only PUTs the files, as cheaply as the server allows.
func (r *copyRig) putLoop() copyRun {
	var steps [][]*http.Request
	for i := range r.items {
		put := r.request(http.MethodPut, r.tag+"-loop", fmt.Sprintf("put/%d", i), r.items[i].body, http.Header{"X-Amz-Content-Sha256": {"UNSIGNED-PAYLOAD"}})
		steps = append(steps, []*http.Request{put})
	}
	return r.loop("put", steps)
}

// objectLoop PUTs the files as a delivery does.
func (r *copyRig) objectLoop() copyRun {
	var steps [][]*http.Request
	for i := range r.items {
		steps = append(steps, []*http.Request{r.object(&r.items[i], "object/")})
	}
	return r.loop("object", steps)
}

// requestLoop makes the requests that a delivery consists of, with the same headers, and does
// nothing else.
func (r *copyRig) requestLoop() copyRun {
	var steps [][]*http.Request
	for i := range r.items {
		item := &r.items[i]
		get := http.Header{"X-Amz-Content-Sha256": {"UNSIGNED-PAYLOAD"}}
		if r.packed() {
			get.Set("Range", fmt.Sprintf("bytes=%d-%d", item.file.StagedAt, item.file.StagedAt+item.file.GzipBytes-1))
		}
		note := delivery.Receipt{
			File: item.job.File, Destination: item.job.Destination, Outcome: delivery.Delivered, Bucket: r.tag, Key: r.keyOf(item), ETag: strings.Repeat("0", 32),
			SHA256: item.file.SHA256, Bytes: item.file.GzipBytes, Records: item.file.Records, Worker: "worker", At: time.Now().UnixMilli(),
		}.Encode()
		receipt := checksummed(note)
		receipt.Set("If-None-Match", "*")
		receipt.Set("Content-Type", "application/json")
		steps = append(steps, []*http.Request{
			r.request(http.MethodGet, r.tag+"-staging", item.file.StagedKey, nil, get),
			r.object(item, ""),
			r.request(http.MethodPut, r.tag+"-loop", delivery.ReceiptKey(item.job.File, item.job.Destination), note, receipt),
		})
	}
	return r.loop("requests", steps)
}

func (r *copyRig) keyOf(item *copyItem) string {
	return delivery.ObjectKey("", item.job.File.Log(), item.file)
}

// object returns the PUT of a delivery, below a prefix.
func (r *copyRig) object(item *copyItem, prefix string) *http.Request {
	h := checksummed(item.body)
	h.Set("If-None-Match", "*")
	h.Set("Content-Type", "text/plain")
	h.Set("Content-Encoding", "gzip")
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	for name, value := range delivery.ObjectMetadata(item.job.File.Log(), item.file) {
		h.Set("X-Amz-Meta-"+name, value)
	}
	return r.request(http.MethodPut, r.tag+"-loop", prefix+r.keyOf(item), item.body, h)
}

func checksummed(body []byte) http.Header {
	sum := sha256.Sum256(body)
	return http.Header{"X-Amz-Content-Sha256": {hex.EncodeToString(sum[:])}, "X-Amz-Checksum-Sha256": {base64.StdEncoding.EncodeToString(sum[:])}}
}

// request returns a signed request, so that the loop does not have to sign. S3 accepts it for a
// quarter of an hour.
func (r *copyRig) request(method, bucket, key string, body []byte, header http.Header) *http.Request {
	h, err := http.NewRequestWithContext(r.b.Context(), method, r.s3+"/"+bucket+"/"+key, bytes.NewReader(body))
	require.NoError(r.b, err)
	h.Header = header
	err = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).SignHTTP(r.b.Context(),
		aws.Credentials{AccessKeyID: r.on.access, SecretAccessKey: r.on.secret}, h, header.Get("X-Amz-Content-Sha256"), "s3", r.on.region, time.Now())
	require.NoError(r.b, err)
	return h
}

// loop makes all requests, each item's in order, several items concurrently.
func (r *copyRig) loop(what string, items [][]*http.Request) copyRun {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: copyConcurrency, ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10, DisableCompression: true}}
	defer client.CloseIdleConnections()
	runtime.GC()
	run := copyRun{What: what}
	begun, cpu, server := time.Now(), processCPU(), r.serverCPU()
	var group errgroup.Group
	next := make(chan []*http.Request)
	for range copyConcurrency {
		group.Go(func() error {
			buf := make([]byte, 32<<10)
			for item := range next {
				for _, h := range item {
					if err := do(client, h, buf); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	require.NoError(r.b, group.Wait())
	run.WallSeconds, run.ServerCPUSeconds = time.Since(begun).Seconds(), r.serverCPU()-server
	if *copyDelay == 0 { // otherwise the proxy is part of this process
		run.CPUSeconds = (processCPU() - cpu).Seconds()
	}
	return run
}

func do(client *http.Client, h *http.Request, buf []byte) error {
	answer, err := client.Do(h)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s %s: %s: %s", h.Method, h.URL, answer.Status, text)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, answer.Body, buf)
	return err
}

// delayed serves a proxy in front of the S3 server until the test ends; its answers begin d later.
func delayed(t testing.TB, to string, d time.Duration) string {
	target, err := url.Parse(to)
	require.NoError(t, err)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.DisableCompression = 256, true
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the host is part of the signature
		},
		ModifyResponse: func(*http.Response) error { time.Sleep(d); return nil },
	})
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// clean deletes what a run leaves, so that the next one finds the disk in the same state.
func (r *copyRig) clean() {
	for _, bucket := range r.buckets() {
		require.NoError(r.b, emptyBucket(context.WithoutCancel(r.b.Context()), r.on, bucket))
	}
}
