// Package porttest finds addresses for what tests start and others have to
// know beforehand: processes, and servers that are away at first. It is for
// tests alone; what can listen at port 0 and say where should do that.
//
// It promises not to give an address twice in a process, nor one that somebody
// listens at. It does not keep other processes from it.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

var (
	mu    sync.Mutex // guards given
	given = map[int]bool{}
)

// Free returns a loopback address to listen at: below the ports that the
// kernel gives to outgoing connections, so that it stays free until then, and
// for a restart.
func Free(t testing.TB) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	for range 100 {
		port := 10_000 + rand.IntN(10_000)
		if given[port] {
			continue
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			given[port] = true
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return addr
		}
	}
	t.Fatal("no free port between 10000 and 20000")
	return ""
}
