package objstore_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
)

// A bucket in another region is found at the cost of one request.
func TestReaderFindsTheRegion(t *testing.T) {
	server, endpoint := serve(t)
	require.NoError(t, server.PutBucket(s3server.Bucket{Name: "far", Region: "ap-south-1"}))
	reader := func() objstore.Reader {
		return objstore.OpenReader(objstore.S3Config{Bucket: "far", Region: "us-east-1", Endpoint: endpoint, PathStyle: true, Credentials: staticCredentials})
	}
	there := objstore.NewS3(objstore.S3Config{Bucket: "far", Region: "ap-south-1", Endpoint: endpoint, PathStyle: true, Credentials: staticCredentials})
	_, err := there.Put(t.Context(), "a/k", strings.NewReader("text"), objstore.PutOptions{})
	require.NoError(t, err)

	for op, do := range map[string]func(objstore.Reader) error{
		"list":    func(r objstore.Reader) error { _, err := r.List(t.Context(), "", "", 0); return err },
		"folders": func(r objstore.Reader) error { _, err := r.Folders(t.Context(), ""); return err },
		"head":    func(r objstore.Reader) error { _, err := r.Head(t.Context(), "a/k"); return err },
		"get": func(r objstore.Reader) error {
			body, _, err := r.GetFrom(t.Context(), "a/k", "", 1)
			if err == nil {
				err = body.Close()
			}
			return err
		},
	} {
		t.Run(op, func(t *testing.T) {
			total := func() (n int64) {
				for _, count := range server.Requests() {
					n += count
				}
				return n
			}
			r, before := reader(), total()
			require.NoError(t, do(r))
			require.NoError(t, do(r))
			require.EqualValues(t, 3, total()-before)
		})
	}
	t.Run("many_at_once", func(t *testing.T) {
		r := reader()
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if _, err := r.Head(t.Context(), "a/k"); err != nil {
					t.Errorf("head: %v", err)
				}
			})
		}
		all.Wait()
	})
	t.Run("region_not_told", func(t *testing.T) {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMovedPermanently) }))
		defer h.Close()
		r := objstore.OpenReader(objstore.S3Config{Bucket: "b", Region: "us-east-1", Endpoint: h.URL, PathStyle: true, Credentials: staticCredentials})
		_, err := r.List(t.Context(), "", "", 0)
		require.ErrorIs(t, err, objstore.ErrWrongRegion)
	})
}

func TestReaderRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		away := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			requests.Add(1)
			return nil, io.ErrUnexpectedEOF
		})}
		r := objstore.OpenReader(objstore.S3Config{Bucket: "b", Region: "us-east-1", Credentials: staticCredentials, HTTPClient: away})
		began := time.Now()
		_, err := r.List(t.Context(), "", "", 0)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.EqualValues(t, 5, requests.Load())
		require.Greater(t, time.Since(began), time.Second)
		_, _, err = r.GetFrom(t.Context(), "k", "", 0)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.EqualValues(t, 6, requests.Load(), "GetFrom was retried")
	})
}

// TestFoldersGivesUpASilentAnswer: one page that stops in between is given up, like one of List, and
// a listing that takes many requests has no time limit.
func TestFoldersGivesUpASilentAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const page = `<ListBucketResult><CommonPrefixes><Prefix>%d/</Prefix></CommonPrefixes><IsTruncated>%v</IsTruncated><NextContinuationToken>%[1]d</NextContinuationToken></ListBucketResult>`
		pages, silent := 0, true
		slow := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(20 * time.Second) // synctest's clock
			if pages++; pages == 2 && silent {
				pages, silent = 0, false
				body := io.MultiReader(strings.NewReader(`<ListBucketResult>`), readFunc(func([]byte) (int, error) {
					<-r.Context().Done()
					return 0, r.Context().Err()
				}))
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body)}, nil
			}
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(fmt.Sprintf(page, pages, pages < 3)))}, nil
		})}
		r := objstore.OpenReader(objstore.S3Config{Bucket: "b", Region: "us-east-1", Credentials: staticCredentials, HTTPClient: slow})
		names, err := r.Folders(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, []string{"1", "2", "3"}, names)
		require.False(t, silent)
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A store without support for ranges sends the whole object, and reading still works.
func TestStoresWithoutRanges(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "0123456789") }))
	defer h.Close()
	s := open(t, h.URL, "b")
	text := func(r io.ReadCloser, err error) string {
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		return string(b)
	}
	r, info, err := s.GetFrom(t.Context(), "k", "", 4)
	require.Equal(t, "456789", text(r, err))
	require.EqualValues(t, 10, info.Size)
	require.Equal(t, "012", text(s.GetRange(t.Context(), "k", 0, 3)))
	require.Equal(t, "45", text(s.GetRange(t.Context(), "k", 4, 2)))
	require.Equal(t, "89", text(s.GetRange(t.Context(), "k", 8, 3)))
	require.Empty(t, text(s.GetRange(t.Context(), "k", 11, 3)))
}

// GetRange asks for the end of the range too, so nothing after it is transferred.
func TestGetRangeRequestsOnlyTheRange(t *testing.T) {
	var ranges []string
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("0123456789"))
	}))
	defer h.Close()
	for _, from := range []int64{0, 4} {
		r, err := open(t, h.URL, "b").GetRange(t.Context(), "k", from, 2)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	require.Equal(t, []string{"bytes=0-1", "bytes=4-5"}, ranges)
}
