package dedup

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkRemember measures the whole cost of a new message: hashing it, finding that it is new,
// remembering it, and its share of writing and merging, in CPU time of the process and in wall time
// of the owner.
//
//	go test ./pkg/dedup -run - -bench Remember -benchtime 1x
func BenchmarkRemember(b *testing.B) {
	for _, ids := range []int{1_000_000, 10_000_000, 50_000_000} {
		b.Run(fmt.Sprintf("ids=%d", ids), func(b *testing.B) {
			for b.Loop() {
				s, err := Open(Config{Dir: b.TempDir(), Budget: NewBudget(DefaultMemory)})
				require.NoError(b, err)
				s.Start(0)
				before, start := cpu(), b.Elapsed()
				rememberNew(s, 0, ids)
				s.Checkpoint()
				wall, used := b.Elapsed()-start, cpu()-before
				b.ReportMetric(float64(wall.Nanoseconds())/float64(ids), "ns/id")
				b.ReportMetric(float64(used)/float64(ids), "cpu-ns/id")
				st := s.Stats()
				b.ReportMetric(float64(st.Memory)/float64(ids), "B/id")
				b.ReportMetric(float64(st.Bytes)/float64(ids), "disk-B/id")
				b.ReportMetric(float64(st.Reads)/float64(ids), "reads/id")
				b.ReportMetric(float64(len(s.runs)), "runs")
				start = b.Elapsed()
				n := 0
				for i := 0; i < ids; i += 97 {
					if s.IsDuplicate(s.Key("source", id(i)), int64(ids), 0, int64(ids)) {
						n++
					}
				}
				require.Equal(b, (ids+96)/97, n)
				b.ReportMetric(float64((b.Elapsed()-start).Nanoseconds())/float64(n), "ns/duplicate")
				s.Close()
			}
		})
	}
}

// rememberNew shows the store n new messages from the i-th on, some 5,000 per second.
func rememberNew(s *Store, i, n int) {
	var keys [64]Key
	for end := i + n; i < end; i += len(keys) {
		for j := range keys {
			keys[j] = s.Key("source", id(i+j))
		}
		s.Prefetch(keys[:])
		for j, k := range keys[:min(end-i, len(keys))] {
			if s.IsDuplicate(k, int64(i+j), int64(i+j)/5, int64(i+j)/5) {
				panic("a first copy is a duplicate")
			}
			s.Remember(k, int64(i+j), int64(i+j)/5, int64(i+j)/5)
		}
	}
}

var idBuf [36]byte

// id returns the i-th messageId; it is valid until the next call.
func id(i int) []byte {
	binary.LittleEndian.PutUint64(idBuf[8:], uint64(i))
	return idBuf[:]
}

func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
