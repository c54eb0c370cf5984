// Package porttest finds addresses for what tests start and others have to
// know beforehand: processes, and servers that are away at first. It is for
// tests alone; what can listen at port 0 and say where should do that.
//
// It promises not to give an address twice while the process lives, nor one that
// somebody listens at, also to tests of other packages that run beside it. It does
// not keep other programs from it.
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
	mu    sync.Mutex           // guards given
	given = map[int]*os.File{} // locked while the process lives
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
		if given[port] != nil {
			continue
		}
		file, err := take(port)
		if err != nil {
			t.Fatal(err)
		}
		if file == nil {
			continue
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			given[port] = file
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

// take locks a port's file; nil: another process has it.
func take(port int) (*os.File, error) {
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
