// Package porttest finds free addresses for tests that have to know an address before something
// listens there: processes, and servers that are down at first. It is only for tests. Whatever can
// listen at port 0 and report its port should do that instead.
//
// It promises not to return an address twice during the life of the process, nor one at which
// somebody listens; this also holds between test binaries that run at the same time. It cannot keep
// other programs from using the address.
package porttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/sealift/sealift/pkg/flock"
)

var (
	mu     sync.Mutex              // guards locked
	locked = map[int]*flock.File{} // kept locked during the life of the process
)

// Free returns a free loopback address. Its port is below the range that the kernel uses for
// outgoing connections, so it stays free until a server listens there, and again while the server
// restarts.
func Free(t testing.TB) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	for range 100 {
		port := 10_000 + rand.IntN(10_000)
		if locked[port] != nil {
			continue
		}
		file, err := lockPort(port)
		if err != nil {
			t.Fatal(err)
		}
		if file == nil {
			continue
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			locked[port] = file
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return addr
		}
		_ = file.Close()
	}
	t.Fatal("no free port between 10000 and 20000")
	return ""
}

// lockPort locks the port's file; it returns nil if another process holds the lock.
func lockPort(port int) (*flock.File, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("sealift-test-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := flock.Open(filepath.Join(dir, strconv.Itoa(port)))
	if errors.Is(err, flock.ErrHeld) {
		err = nil
	}
	return file, err
}
