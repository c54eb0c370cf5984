package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/verify"
)

// verify runs the mechanism of `sealift verify` on the world.
func (w *world) verify(change func(*verify.Config)) *verify.Report {
	w.t.Helper()
	w.refuseWrites(w.staging, nil)
	for _, b := range w.buckets {
		w.refuseWrites(b, nil)
	}
	r, err := w.verifyAs(change, w.open)
	require.NoError(w.t, err)
	return r
}

// refuseWrites makes all writes fail, and reads as fault says.
func (w *world) refuseWrites(s *objstore.Memory, fault func(objstore.Op) error) {
	s.SetFault(func(op objstore.Op) objstore.Fault {
		switch {
		case op.Name == "put" || op.Name == "delete":
			return objstore.Fault{Before: errors.New("a verification writes nothing")}
		case fault != nil:
			return objstore.Fault{Before: fault(op)}
		}
		return objstore.Fault{}
	})
}

// verifyAs is verify with the faults as they are set, and with another way to open buckets.
func (w *world) verifyAs(change func(*verify.Config), open func(context.Context, string) (verify.Bucket, error)) (*verify.Report, error) {
	cfg := verify.Config{Topic: "events", Partition: -1, Deep: true, Overdue: time.Nanosecond}
	if change != nil {
		change(&cfg)
	}
	return verify.Verify(context.Background(), cfg, verify.Deps{Staging: w.staging, Bucket: open})
}

// open opens the bucket of a destination; all but the lake's are called archive.
func (w *world) open(_ context.Context, dest string) (verify.Bucket, error) {
	b, name := w.buckets[dest], "archive"
	if b == nil {
		return verify.Bucket{}, verify.ErrNoDestination
	}
	if dest == lake {
		name = "lake"
	}
	return verify.Bucket{Store: b, Name: name, Prefix: w.prefixes[dest]}, nil
}

// installation returns the world for the independent judge.
func (w *world) installation() check.Installation {
	b := check.Installation{Staging: bodies(w.t.Context(), w.staging), Buckets: map[string]check.Bucket{}}
	for dest, s := range w.buckets {
		b.Buckets[dest] = check.Bucket{Prefix: w.prefixes[dest], Objects: bodies(w.t.Context(), s)}
	}
	return b
}

func TestUndamagedWorldPasses(t *testing.T) {
	w := newWorld(t)
	for name, w := range map[string]*world{"alone": w, "in_batches": w.batched(t)} {
		t.Run(name, func(t *testing.T) {
			w := w.clone(t)
			w.requireAllWell()
			for name, change := range map[string]func(*verify.Config){
				"shallow":  func(c *verify.Config) { c.Deep = false },
				"a_source": func(c *verify.Config) { c.Source = sourceID(1) },
				"one":      func(c *verify.Config) { c.Destination = archive },
				"recent":   func(c *verify.Config) { c.Since = time.Now().Add(-time.Hour) },
			} {
				t.Run(name, func(t *testing.T) {
					r := w.verify(change)
					require.True(t, r.OK(), "%v", r.Examples)
					require.Empty(t, r.Unread)
					require.Positive(t, r.Receipts.Delivered)
				})
			}
		})
	}
}

// requireAllWell holds that everything was delivered, and that all judges say so.
func (w *world) requireAllWell() {
	t := w.t
	t.Helper()
	judged, err := w.installation().Check()
	require.NoError(t, err)
	require.True(t, judged.OK(), "%v", judged.Problems)
	require.EqualValues(t, worldRecords, judged.Records)
	require.Equal(t, judged.Receipts, judged.Objects)
	for dest, e := range w.expected {
		r, err := e.Check(objects(t.Context(), w.buckets[dest]), check.Rules{Prefix: w.prefixes[dest]})
		require.NoError(t, err)
		require.True(t, r.OK(), r.String())
		require.Zero(t, r.Ignored)
	}
	r := w.verify(nil)
	require.True(t, r.OK(), "%v", r.Examples)
	require.Empty(t, r.Unread)
	require.EqualValues(t, worldRecords, r.Records)
	require.Equal(t, map[string]int64{"not_a_json_object": 3}, r.Skipped)
	require.Equal(t, r.Files, r.Staged.Read)
	require.Equal(t, r.Owed, r.Closed)
	require.Equal(t, verify.Receipts{Delivered: r.Owed}, r.Receipts)
	for _, d := range r.Destinations {
		require.Equal(t, "read", d.Bucket)
		require.Equal(t, d.Owed, d.Objects)
		require.Equal(t, d.Objects, d.Listed)
	}
	t.Logf("%d entries, %d files, %d receipts", r.Entries, r.Files, r.Receipts.Delivered)
}

// mutation is one way to damage a world. damage returns the place that the checkers must name.
type mutation struct {
	alone  bool // only if the receipts are objects of their own
	damage func(w *world) string
	verify []verify.Kind // exactly these
	check  []check.Kind  // exactly these
}

// second returns the second entry that names files.
func (w *world) second() *ledger.Entry { return w.sealedEntries()[1] }

func placeOf(e *ledger.Entry) string { return fmt.Sprintf("%s entry %d", e.Log(), e.Seq) }

// namesFor returns the ways to name a place: an entry may also be named by its key, or by keys of
// its receipts.
func namesFor(place string) []string {
	log, n, ok := strings.Cut(place, " entry ")
	seq, err := strconv.ParseInt(n, 10, 64)
	part := strings.Split(log, "/")
	if !ok || err != nil || len(part) != 3 {
		return []string{place}
	}
	l := ledger.Log{Topic: part[0], Incarnation: part[1]}
	if l.Partition, err = strconv.Atoi(part[2]); err != nil {
		return []string{place}
	}
	return []string{place, ledger.EntryKey(l, seq), delivery.ReceiptPrefix(l, seq)}
}

// editLines returns a function that edits the lines of a gzip object.
func editLines(change func([]string) []string) func([]byte) []byte {
	return func(b []byte) []byte {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			panic(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			panic(err)
		}
		l := change(strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"))
		var lines strings.Builder
		for _, line := range l {
			lines.WriteString(line + "\n")
		}
		return gziptest.Zip(lines.String())
	}
}

func emptyObject() []byte { return editLines(func([]string) []string { return nil })(oneLine) }

// oneLine is a gzip object with one line.
var oneLine = gziptest.Zip("{}\n")

// inLake edits a file's object at the lake.
func inLake(change func([]byte) []byte) func(w *world) string {
	return func(w *world) string {
		key := w.objectKey(lake, w.second(), 0)
		w.edit(w.buckets[lake], key, change)
		return key
	}
}

// inStaging edits a file's staged object.
func inStaging(change func([]byte) []byte) func(w *world) string {
	return func(w *world) string {
		e := w.second()
		w.edit(w.staging, e.Files[0].StagedKey, change)
		return placeOf(e)
	}
}

// inEntry edits the second entry of a chain that names files.
func inEntry(change func(*ledger.Entry)) func(w *world) string {
	return func(w *world) string {
		e := w.second()
		w.editEntry(e, change)
		return placeOf(e)
	}
}

// packed returns the first entry of several files, which are in one pack.
func (w *world) packed() *ledger.Entry {
	all := w.sealedEntries()
	e := all[slices.IndexFunc(all, func(e *ledger.Entry) bool { return len(e.Files) > 1 })]
	for _, f := range e.Files {
		require.Equal(w.t, e.Files[0].StagedKey, f.StagedKey)
		require.Positive(w.t, f.PackBytes)
	}
	return e
}

func inPacked(change func(*ledger.Entry)) func(w *world) string {
	return func(w *world) string {
		e := w.packed()
		w.editEntry(e, change)
		return placeOf(e)
	}
}

func inReceipt(change func(*delivery.Receipt)) func(w *world) string {
	return func(w *world) string {
		return w.editReceipt(w.second(), 0, lake, change)
	}
}

func movedInLake(from, to string) func(w *world) string {
	return func(w *world) string {
		key := w.objectKey(lake, w.second(), 0)
		moved := strings.Replace(key, from, to, 1)
		w.rename(w.buckets[lake], key, moved)
		return key
	}
}

// TestEveryMutationIsFound: whatever is damaged, the checkers report it and name the place.
func TestEveryMutationIsFound(t *testing.T) {
	good := newWorld(t)
	batched := good.batched(t)
	for name, m := range mutations {
		t.Run(name, func(t *testing.T) { m.requireFound(good.clone(t)) })
		if !m.alone {
			t.Run(name+"/in_batches", func(t *testing.T) { m.requireFound(batched.clone(t)) })
		}
	}
	for name, m := range batchMutations {
		t.Run(name, func(t *testing.T) { m.requireFound(batched.clone(t)) })
	}
}

func (m mutation) requireFound(w *world) {
	t := w.t
	where := m.damage(w)
	require.NotEmpty(t, where)
	r := w.verify(nil)
	require.ElementsMatch(t, m.verify, slices.Collect(maps.Keys(r.ByKind)), "%v", r.Examples)
	named := slices.ContainsFunc(r.Examples, func(p verify.Problem) bool { return strings.Contains(p.String(), where) })
	require.True(t, named, "%s is not named in %v", where, r.Examples)

	b, err := w.installation().Check()
	require.NoError(t, err)
	kinds := map[check.Kind]bool{}
	for _, p := range b.Problems {
		kinds[p.Kind] = true
	}
	require.ElementsMatch(t, m.check, slices.Collect(maps.Keys(kinds)), "%v", b.Problems)
	named = len(m.check) == 0 || slices.ContainsFunc(b.Problems, func(p check.Problem) bool {
		says := p.Key + " " + p.Detail
		return slices.ContainsFunc(namesFor(where), func(name string) bool { return strings.Contains(says, name) })
	})
	require.True(t, named, "%s is not named in %v", where, b.Problems)
}
