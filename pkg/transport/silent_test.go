package transport

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/pipetest"
)

// rig is a server, reached by in-memory connections, that is silent at /silent, and elsewhere answers
// when it is told to. It is for use under synctest, whose clock a busy machine does not let run out.
func rig(t *testing.T) (client *http.Client, answer, asked chan struct{}) {
	answer, asked = make(chan struct{}, 10), make(chan struct{}, 10)
	conns := make(pipetest.Listener)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		if r.URL.Path == "/silent" {
			<-r.Context().Done()
		} else {
			<-answer
			_, _ = io.WriteString(w, "here")
		}
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(conns) }()
	next := New(nil)
	next.Proxy = nil
	next.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		conns <- theirs
		return ours, nil
	}
	client = &http.Client{Transport: GiveUpSilent(next)}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
	})
	return client, answer, asked
}

func TestSilentServerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _, asked := rig(t)
		for range 3 {
			_, err := client.Get("http://store.test/silent")
			require.ErrorContains(t, err, "no answer from store.test in 15s")
			var timeout net.Error
			require.ErrorAs(t, err, &timeout)
			require.True(t, timeout.Timeout())
		}
		require.Len(t, asked, 1, "it was asked again")
	})
}

// A server that has answered may be slow then, and the time limit does not end the reading of a
// body.
func TestServerThatAnsweredIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, answer, _ := rig(t)
		answer <- struct{}{}
		first, err := client.Get("http://store.test")
		require.NoError(t, err)
		defer first.Body.Close()
		time.AfterFunc(2*firstAnswer, func() { answer <- struct{}{} })
		second, err := client.Get("http://store.test")
		require.NoError(t, err)
		defer second.Body.Close()
		for _, body := range []io.Reader{first.Body, second.Body} {
			_, err := io.ReadAll(body)
			require.NoError(t, err)
		}
	})
}

// A body may take longer to send than its answer.
func TestSlowBodyIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, answer, _ := rig(t)
		answer <- struct{}{}
		in, out := io.Pipe()
		time.AfterFunc(4*firstAnswer, func() { _ = out.Close() })
		res, err := client.Post("http://store.test", "text/plain", in)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	})
}

// A request that its caller ends says nothing about the server.
func TestCanceledRequestIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, answer, asked := rig(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://store.test/silent", nil)
		require.NoError(t, err)
		_, err = client.Do(r)
		require.ErrorIs(t, err, context.Canceled)
		answer <- struct{}{}
		res, err := client.Get("http://store.test")
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	})
}
