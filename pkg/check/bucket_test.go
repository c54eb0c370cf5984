package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/gziptest"
)

// stored is an object in a test's bucket.
type stored struct {
	key, contentType, contentEncoding string
	body                              []byte
	metadata                          map[string]string
}

// bucket is a good bucket, which the tests then damage.
type bucket []stored

func (b bucket) objects() iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for _, s := range b {
			o := Object{Key: s.key, ContentType: s.contentType, ContentEncoding: s.contentEncoding, Metadata: s.metadata, Open: func() (io.ReadCloser, error) {
				// Short reads catch readers that assume full ones.
				return io.NopCloser(iotest.HalfReader(bytes.NewReader(s.body))), nil
			}}
			if !yield(o, nil) {
				return
			}
		}
	}
}

const (
	day1     = int64(1_800_000_000_000) / dayMs * dayMs
	sources  = 3
	perFile  = 10
	filesPer = 4 // two on each of two days
)

func sourceID(s int) string { return fmt.Sprintf("src_%d", s) }

func line(id string, ms int64) string {
	at := time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
	return fmt.Sprintf(`{"messageId":%q,"receivedAt":%q,"type":"track","properties":{"n":1}}`, id, at)
}

func name(ms int64, n int) string {
	return fmt.Sprintf("%d.0123456789ab.%07x.01234567-89ab-5cde-8f01-%012x.gz", ms, n, n)
}

// goodBucket returns a bucket with that prefix, and what it must contain.
func goodBucket(prefix string, dump bool) (bucket, *Expected) {
	var b bucket
	e := new(Expected)
	n := 0
	for s := range sources {
		for f := range filesPer {
			day := day1 + int64(f/2)*dayMs
			first := day + int64(f%2)*3_600_000 + 17
			var lines strings.Builder
			for i := range perFile {
				id, ms := fmt.Sprintf("m-%d-%d-%d", s, f, i), first+int64(i)
				l := line(id, ms)
				lines.WriteString(l + "\n")
				e.Acknowledge(sourceID(s), id)
				if dump {
					e.Record(sourceID(s), ms, []byte(l))
				}
			}
			n++
			b = append(b, stored{
				key:         fmt.Sprintf("%ssegment-logs/%s/%d/%s", prefix, sourceID(s), day, name(first, n)),
				contentType: "text/plain", contentEncoding: "gzip", body: gziptest.Zip(lines.String()),
			})
		}
	}
	return b, e
}

// The helpers below damage the first object of a bucket.

func edit(f func(lines []string) []string) func(*testing.T, bucket) bucket {
	return raw(func(s string) string {
		return strings.Join(f(strings.Split(strings.TrimSuffix(s, "\n"), "\n")), "\n") + "\n"
	})
}

func raw(f func(string) string) func(*testing.T, bucket) bucket {
	return func(t *testing.T, b bucket) bucket {
		t.Helper()
		b[0].body = gziptest.Zip(f(gziptest.Unzip(t, bytes.NewReader(b[0].body))))
		return b
	}
}

func body(f func([]byte) []byte) func(*testing.T, bucket) bucket {
	return func(_ *testing.T, b bucket) bucket { b[0].body = f(b[0].body); return b }
}

func rename(from, to string) func(*testing.T, bucket) bucket {
	return func(t *testing.T, b bucket) bucket {
		t.Helper()
		require.Contains(t, b[0].key, from)
		b[0].key = strings.Replace(b[0].key, from, to, 1)
		return b
	}
}

func add(o stored) func(*testing.T, bucket) bucket {
	return func(_ *testing.T, b bucket) bucket {
		o.contentType, o.contentEncoding, o.body = "text/plain", "gzip", gziptest.Zip(line("m-x", day1)+"\n")
		return append(b, o)
	}
}

// metadata sets the first object's number of records and its sha256, altered by alter.
func metadata(records int, alter byte) func(*testing.T, bucket) bucket {
	return func(_ *testing.T, b bucket) bucket {
		sum := sha256.Sum256(b[0].body)
		sum[0] ^= alter
		b[0].metadata = map[string]string{"records": strconv.Itoa(records), "sha256": hex.EncodeToString(sum[:])}
		return b
	}
}

func FuzzObject(f *testing.F) {
	b, _ := goodBucket("", false)
	f.Add(b[0].key, b[0].body)
	f.Add("segment-logs/a/0/x.gz", []byte("\x1f\x8b"))
	f.Add("segment-logs/", []byte{})
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		_, e := goodBucket("", false)
		one := bucket{{key: key, contentType: "text/plain", contentEncoding: "gzip", body: body}}
		r, err := e.Check(one.objects(), Rules{})
		require.NoError(t, err)
		require.False(t, r.OK(), "one object cannot hold the lines of twelve")
	})
}

func BenchmarkCheck(b *testing.B) {
	// One object of 100,000 lines.
	var lines strings.Builder
	e := new(Expected)
	for i := range 100_000 {
		id := fmt.Sprintf("ajs-next-01234567-89ab-4cde-8f01-%012x", i)
		e.Acknowledge("src_0", id)
		lines.WriteString(line(id, day1+17) + "\n")
	}
	objects := bucket{{
		key: fmt.Sprintf("segment-logs/src_0/%d/%s", day1, name(day1+17, 1)), contentType: "text/plain", contentEncoding: "gzip", body: gziptest.Zip(lines.String()),
	}}
	b.SetBytes(int64(lines.Len()))
	for b.Loop() {
		r, err := e.Check(objects.objects(), Rules{})
		if err != nil || !r.OK() {
			b.Fatal(err, r)
		}
	}
}
