package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// tcpSwitch is one address that stands for others that may change: the current primary Redis, or
// whichever collector is up.
type tcpSwitch struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu        sync.Mutex // guards all fields below
	upstreams []string
	next      int
	open      map[net.Conn]struct{}
}

// newTCPSwitch listens on a free loopback port. Connections go to the upstreams in turn, or to the
// next one if an upstream does not answer.
func newTCPSwitch(t *testing.T, upstreams ...string) *tcpSwitch {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &tcpSwitch{listener: listener, upstreams: upstreams, open: map[net.Conn]struct{}{}}
	s.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.proxy(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.switchTo()
		s.wg.Wait()
	})
	return s
}

func (s *tcpSwitch) addr() string { return s.listener.Addr().String() }

// switchTo switches to other upstreams and cuts all connections.
func (s *tcpSwitch) switchTo(upstreams ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upstreams = upstreams
	for conn := range s.open {
		_ = conn.Close()
	}
}

func (s *tcpSwitch) proxy(from net.Conn) {
	defer from.Close()
	to, err := s.dial(from)
	if err != nil {
		return
	}
	defer to.Close()
	defer s.forget(from, to)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_, _ = pair[0].Close(), pair[1].Close()
		})
	}
}

func (s *tcpSwitch) dial(from net.Conn) (net.Conn, error) {
	s.mu.Lock()
	s.next++
	all := slices.Clone(s.upstreams)
	if len(all) > 0 {
		n := s.next % len(all)
		all = append(all[n:], all[:n]...)
	}
	s.mu.Unlock()
	for _, upstream := range all {
		to, err := net.Dial("tcp", upstream)
		if err != nil {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Contains(s.upstreams, upstream) { // switched meanwhile
			_ = to.Close()
			break
		}
		s.open[from], s.open[to] = struct{}{}, struct{}{}
		return to, nil
	}
	return nil, errors.New("no upstream answers")
}

func (s *tcpSwitch) forget(conns ...net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range conns {
		delete(s.open, conn)
	}
}

func TestSwitch(t *testing.T) {
	var upstreams []string
	for i := range 2 { // servers that answer every line with who they are
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		upstreams = append(upstreams, l.Addr().String())
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					for lines := bufio.NewScanner(conn); lines.Scan(); {
						fmt.Fprintf(conn, "%d\n", i)
					}
				}()
			}
		}()
	}
	ask := func(conn net.Conn) (string, error) {
		if _, err := conn.Write([]byte("who\n")); err != nil {
			return "", err
		}
		return bufio.NewReader(conn).ReadString('\n')
	}
	s := newTCPSwitch(t, upstreams[0])
	before, err := net.Dial("tcp", s.addr())
	require.NoError(t, err)
	defer before.Close()
	said, err := ask(before)
	require.NoError(t, err)
	require.Equal(t, "0\n", said)

	s.switchTo(upstreams[1], "127.0.0.1:1")
	_, err = ask(before)
	require.Error(t, err, "a connection to the former upstream still works")
	for range 4 { // one of the two upstreams is down
		conn, err := net.Dial("tcp", s.addr())
		require.NoError(t, err)
		said, err = ask(conn)
		require.NoError(t, err)
		require.Equal(t, "1\n", said)
		require.NoError(t, conn.Close())
	}
}
