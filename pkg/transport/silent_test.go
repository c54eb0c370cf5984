package transport

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rig is a server that is silent at /silent, and elsewhere answers when it is told to.
func rig(t *testing.T, within time.Duration) (client *http.Client, url string, answer, asked chan struct{}) {
	answer, asked = make(chan struct{}, 10), make(chan struct{}, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		if r.URL.Path == "/silent" {
			<-r.Context().Done()
		} else {
			<-answer
			_, _ = io.WriteString(w, "here")
		}
	}))
	t.Cleanup(server.Close)
	silent := GiveUpSilent(New(nil)).(*silenceTransport) //nolint:forcetypeassert // it is one
	silent.within = within
	client = &http.Client{Transport: silent}
	t.Cleanup(client.CloseIdleConnections)
	return client, server.URL, answer, asked
}

func TestSilentServerIsGivenUp(t *testing.T) {
	client, url, _, asked := rig(t, 50*time.Millisecond)
	for range 3 {
		_, err := client.Get(url + "/silent")
		require.ErrorContains(t, err, "no answer from "+strings.TrimPrefix(url, "http://")+" in 50ms")
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
	}
	require.Len(t, asked, 1, "it was asked again")
}

// A server that has answered may be slow then, and the time limit does not end the reading of a
// body.
func TestServerThatAnsweredIsNotGivenUp(t *testing.T) {
	const within = 50 * time.Millisecond
	client, url, answer, _ := rig(t, within)
	answer <- struct{}{}
	first, err := client.Get(url)
	require.NoError(t, err)
	defer first.Body.Close()
	time.AfterFunc(4*within, func() { answer <- struct{}{} })
	second, err := client.Get(url)
	require.NoError(t, err)
	defer second.Body.Close()
	for _, body := range []io.Reader{first.Body, second.Body} {
		_, err := io.ReadAll(body)
		require.NoError(t, err)
	}
}

// A body may take longer to send than its answer.
func TestSlowBodyIsNoSilence(t *testing.T) {
	const within = 50 * time.Millisecond
	client, url, answer, _ := rig(t, within)
	answer <- struct{}{}
	in, out := io.Pipe()
	time.AfterFunc(4*within, func() { _ = out.Close() })
	res, err := client.Post(url, "text/plain", in)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
}

// A request that its caller ends says nothing about the server.
func TestCanceledRequestIsNoSilence(t *testing.T) {
	client, url, answer, asked := rig(t, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/silent", nil)
	require.NoError(t, err)
	_, err = client.Do(r)
	require.ErrorIs(t, err, context.Canceled)
	answer <- struct{}{}
	res, err := client.Get(url)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
}
