package e2e

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

// TestS3FaultProxy: each fault does what its name says, because a nemesis that does nothing proves
// nothing.
func TestS3FaultProxy(t *testing.T) {
	t.Parallel()
	s3, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "a", SecretKey: "s", Region: "us-east-1", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s3.Close()) })
	require.NoError(t, s3.CreateBucket("staging"))
	require.NoError(t, s3.CreateBucket("acme"))
	web := httptest.NewServer(s3)
	t.Cleanup(web.Close)

	tests := map[s3Fault]struct {
		err     error // of the PUT; nil: it succeeds
		applied bool
		later   bool // applied only after settling
	}{
		refused:     {err: objstore.ErrUnavailable},
		failed:      {err: objstore.ErrUnavailable},
		cutBefore:   {err: objstore.ErrUnavailable},
		denied:      {err: objstore.ErrDenied},
		conflict:    {err: objstore.ErrConflict},
		late:        {applied: true},
		slowBody:    {applied: true},
		cutAfter:    {err: objstore.ErrUnavailable, applied: true},
		failedAfter: {err: objstore.ErrUnavailable, applied: true},
		ghost:       {err: objstore.ErrUnavailable, applied: true, later: true},
		ghost503:    {err: objstore.ErrUnavailable, applied: true, later: true},
	}
	for fault, test := range tests {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			p := newS3FaultProxy(t, web.URL, "staging", 1)
			through, direct := bucketAt(p.server.URL, "acme"), bucketAt(web.URL, "acme")
			key := "k/" + string(fault)
			put := func() error {
				_, err := through.Put(t.Context(), key, strings.NewReader("text"), objstore.PutOptions{IfAbsent: true})
				return err
			}
			p.setWeather("acme", weather{fault: 1})
			require.ErrorIs(t, put(), test.err)
			_, err := direct.Head(t.Context(), key)
			if !test.applied || test.later {
				require.ErrorIs(t, err, objstore.ErrNotFound)
			}
			p.waitForGhosts()
			p.setWeather("acme", nil)
			if test.applied {
				require.ErrorIs(t, put(), objstore.ErrExists)
			} else {
				require.NoError(t, put())
			}
			requests, answers, faults := p.counts()
			require.Equal(t, 2, requests["customers PUT"])
			require.Equal(t, map[s3Fault]int{fault: 1}, faults)
			require.Equal(t, test.applied, answers["customers PUT 412"] == 1)
		})
	}
	t.Run("torn_body", func(t *testing.T) {
		p := newS3FaultProxy(t, web.URL, "staging", 1)
		_, err := bucketAt(web.URL, "staging").Put(t.Context(), "data/x", strings.NewReader("a long text"), objstore.PutOptions{})
		require.NoError(t, err)
		p.setWeather("staging", weather{tornBody: 1})
		body, _, err := bucketAt(p.server.URL, "staging").Get(t.Context(), "data/x")
		require.NoError(t, err)
		defer body.Close()
		text, err := io.ReadAll(body)
		require.Error(t, err)
		require.Equal(t, "a lon", string(text)[:5])
		requests, _, _ := p.counts()
		require.Equal(t, map[string]int{"staging GET data": 1}, requests)
	})
}

func bucketAt(url, name string) objstore.Store {
	return objstore.NewS3(objstore.S3Config{
		Bucket: name, Region: "us-east-1", Endpoint: url, PathStyle: true,
		Credentials: func(context.Context) (objstore.Credentials, error) {
			return objstore.Credentials{AccessKeyID: "a", SecretAccessKey: secret.New("s")}, nil
		},
	})
}
