package segment

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/sample"
)

// BenchmarkWriter measures the whole life of files, from lines to sealed objects that are read,
// side by side with the bound "append and klauspost gzip level 1 of the same bytes". The figures
// that count are cpu-ratio (the bound's CPU seconds divided by the spool's; 1 equals the bound),
// size-ratio (bytes of the objects divided by one gzip stream of all lines) and peak-MB of the
// heap.
//
//	go test ./pkg/segment -run - -bench Writer -benchtime 1x
//	go test ./pkg/segment -run - -bench Writer -benchtime 1x -level 1
//	go test ./pkg/segment -run - -bench Writer/sources=10000$ -benchtime 1x -level 1 -mib 5120
var (
	level = flag.Int("level", 6, "gzip level of BenchmarkWriter's files; the bound's is always 1")
	mib   = flag.Int("mib", 512, "MiB of lines that BenchmarkWriter writes")
)

func BenchmarkWriter(b *testing.B) {
	for _, sources := range []int{100, 10_000, 100_000} {
		b.Run("sources="+strconv.Itoa(sources), func(b *testing.B) {
			benchWriter(b, sources, *mib<<20)
		})
	}
}

func benchWriter(b *testing.B, sources int, bytesIn int) {
	lines := sampleLines(64 << 20)
	order := zipf(sources, bytesIn/len(lines[0]))
	for b.Loop() {
		total, spoolCPU, boundCPU := 0, time.Duration(0), time.Duration(0)
		spool, err := New(Config{Dir: filepath.Join(b.TempDir(), "spool"), Level: *level, Budget: NewBudget(384 << 20)})
		if err != nil {
			b.Fatal(err)
		}
		files, bytes := 0, int64(0)
		seal := func(s ledger.Stream) {
			f, err := spool.Seal(s, ReasonTime)
			if err != nil {
				b.Fatal(err)
			}
			files, bytes = files+1, bytes+f.GzipBytes
			f.Release()
		}
		var single countWriter
		bound, err := gzip.NewWriterLevel(&single, 1)
		if err != nil {
			b.Fatal(err)
		}
		var buf []byte
		var peak uint64
		// Alternate every few MB, so that noise on the machine affects both.
		const turn = 20_000
		for at := 0; total < bytesIn; at += turn {
			start := cpu()
			for i := at; i < at+turn; i++ {
				l := lines[i%len(lines)]
				err := spool.Append(order[i%len(order)], int64(i), 5, l)
				if errors.Is(err, ErrFull) {
					seal(order[i%len(order)])
					err = spool.Append(order[i%len(order)], int64(i), 5, l)
				}
				if err != nil {
					b.Fatal(err)
				}
				total += len(l) + 1
			}
			middle := cpu()
			for i := at; i < at+turn; i++ {
				buf = append(append(buf, lines[i%len(lines)]...), '\n')
				if len(buf) >= 64<<10 {
					_, _ = bound.Write(buf)
					buf = buf[:0]
				}
			}
			spoolCPU += middle - start
			boundCPU += cpu() - middle
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
		start := cpu()
		var streams []ledger.Stream
		spool.Files(func(m Meta) { streams = append(streams, m.Stream) })
		for _, s := range streams {
			seal(s)
		}
		middle := cpu()
		_ = bound.Close()
		spoolCPU += middle - start
		boundCPU += cpu() - middle
		spool.Discard()
		gb := float64(total) / 1e9
		b.ReportMetric(spoolCPU.Seconds()/gb, "cpu-s/GB")
		b.ReportMetric(boundCPU.Seconds()/gb, "bound-cpu-s/GB")
		b.ReportMetric(boundCPU.Seconds()/spoolCPU.Seconds(), "cpu-ratio")
		b.ReportMetric(float64(bytes)/float64(single.n), "size-ratio")
		b.ReportMetric(float64(total)/float64(single.n), "gzip-ratio")
		b.ReportMetric(float64(peak)/1e6, "peak-MB")
		b.ReportMetric(float64(files), "files")
	}
}

type countWriter struct{ n int64 }

func (w *countWriter) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	return len(p), nil
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sampleLines returns about n bytes of distinct realistic lines.
func sampleLines(n int) [][]byte {
	g := sample.New(sample.Config{Seed: 1, Sources: 8})
	var lines [][]byte
	for n > 0 {
		e := g.Next()
		lines = append(lines, bytes.Clone(e.Body))
		n -= len(e.Body) + 1
	}
	return lines
}

// zipf returns the streams of n records: each source once, then a skewed choice.
func zipf(sources, n int) []ledger.Stream {
	all := make([]ledger.Stream, sources)
	for i := range all {
		all[i] = ledger.Stream{Source: fmt.Sprintf("source%06d", i), Hour: 1_700_000_400_000}
	}
	r := rand.New(rand.NewPCG(7, 7))
	z := rand.NewZipf(r, 1.1, 1, uint64(sources-1))
	order := make([]ledger.Stream, max(n, sources))
	for i := range order {
		if i < sources {
			order[i] = all[i]
		} else {
			order[i] = all[z.Uint64()]
		}
	}
	return order
}

// BenchmarkCheckpoint measures what checkpoints cost, side by side with a spool that makes none,
// and how fast they are recovered. cpu-ratio is the CPU time with checkpoints divided by that
// without; journal-ratio is the bytes written to journals divided by those of the lines.
//
//	go test ./pkg/segment -run - -bench Checkpoint -benchtime 1x
func BenchmarkCheckpoint(b *testing.B) {
	for _, sources := range []int{100, 10_000} {
		b.Run("sources="+strconv.Itoa(sources), func(b *testing.B) {
			benchCheckpoint(b, sources, 256<<20, 64<<20)
		})
	}
}

func benchCheckpoint(b *testing.B, sources, bytesIn, every int) {
	lines := sampleLines(64 << 20)
	order := zipf(sources, bytesIn/len(lines[0]))
	for b.Loop() {
		var spools [2]*Spool // without, with
		var used [2]time.Duration
		for i := range spools {
			var err error
			spools[i], err = New(Config{Dir: filepath.Join(b.TempDir(), "spool"), Budget: NewBudget(384 << 20)})
			if err != nil {
				b.Fatal(err)
			}
		}
		total, saved := 0, 0
		var journal int64
		save := func() {
			n, err := spools[1].Checkpoint(nil)
			if err != nil {
				b.Fatal(err)
			}
			journal, saved = journal+n, total
		}
		const turn = 20_000
		for at := 0; total < bytesIn; at += turn {
			for n, s := range spools {
				start := cpu()
				for i := at; i < at+turn; i++ {
					l := lines[i%len(lines)]
					if err := s.Append(order[i%len(order)], int64(i), 5, l); err != nil {
						b.Fatal(err)
					}
					total += n * (len(l) + 1)
				}
				if n == 1 && total-saved >= every {
					save()
				}
				used[n] += cpu() - start
			}
		}
		save()
		spools[1].Close()
		start, startCPU := time.Now(), cpu()
		r, err := Recover(b.Context(), spools[1].cfg)
		if err != nil {
			b.Fatal(err)
		}
		s, _, err := r.Resume(func(Meta) (bool, error) { return false, nil })
		if err != nil {
			b.Fatal(err)
		}
		took, tookCPU := time.Since(start), cpu()-startCPU
		b.ReportMetric(used[1].Seconds()/used[0].Seconds(), "cpu-ratio")
		b.ReportMetric(float64(journal)/float64(total), "journal-ratio")
		b.ReportMetric(took.Seconds()*1e3, "recover-ms")
		b.ReportMetric(tookCPU.Seconds()*1e3, "recover-cpu-ms")
		b.ReportMetric(float64(total)/1e6, "lines-MB")
		s.Discard()
		spools[0].Discard()
	}
}
