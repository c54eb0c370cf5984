package copier

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
)

// A spool directory that cannot be written does not count against the destination: nothing is sent,
// and the file is retried.
func TestUnwritableSpoolIsNotTheDestinationsFault(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, strings.Repeat("x", maxInMemory+1))
	dir := filepath.Join(t.TempDir(), "spool")
	r.cfg.SpoolDir = dir // does not exist
	o := r.runJob(t.Context(), job)
	require.Equal(t, outcomeFailed, o.kind)
	require.Equal(t, destination.Transient, o.verdict.Class)
	require.Equal(t, destination.ScopeFile, o.verdict.Scope)
	require.Equal(t, "spool", o.verdict.Reason)
	require.Contains(t, o.verdict.Cause, dir)
	require.Contains(t, o.verdict.Fix.String(), "copier.spool_dir")
	require.Empty(t, r.buckets["one-logs"].opts)
	require.Nil(t, r.receipt(job))

	require.NoError(t, os.Mkdir(dir, 0o700))
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
	require.NotNil(t, r.receipt(job))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A file takes no memory any more while its receipt is awaited.
func TestRemovedFileTakesNoMemory(t *testing.T) {
	r := newRig(t)
	r.job(acmeOne, "x")
	s, err := spoolStaged(t.Context(), r.staging, "", &r.head.Files[0])
	require.NoError(t, err)
	require.IsType(t, memoryContent{}, s.content)
	bytes := weak.Make(s.content.(memoryContent).Reader)
	for range 2 {
		s.remove()
	}
	runtime.GC()
	require.Nil(t, bytes.Value())
	require.EqualValues(t, 1, s.size)
}

// Whether a file is spooled in memory or on disk, exactly the bytes that the ledger describes are
// sent.
func TestSpoolInMemoryAndOnDisk(t *testing.T) {
	for name, size := range map[string]int{"one_byte": 1, "last_in_memory": maxInMemory, "first_on_disk": maxInMemory + 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			dir := filepath.Join(t.TempDir(), "spool")
			r.cfg.SpoolDir = dir // does not exist; files in memory do not need it
			if size > maxInMemory {
				require.NoError(t, os.Mkdir(dir, 0o700))
			}
			content := strings.Repeat("x", size)
			job := r.job(acmeOne, content)
			require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
			require.Equal(t, map[string]string{delivery.ObjectKey("path", testLog, &r.head.Files[0]): content}, r.objects("one-logs"))

			for hazard, staged := range map[string]string{"shorter": content[1:], "longer": content + "x", "other": strings.Repeat("y", size)} {
				f := r.head.Files[0]
				f.StagedKey = hazard
				_, err := r.staging.Put(t.Context(), hazard, strings.NewReader(staged), objstore.PutOptions{})
				require.NoError(t, err)
				_, err = spoolStaged(t.Context(), r.staging, dir, &f)
				require.ErrorIs(t, err, errDamaged, hazard)
			}

			pack := "before" + content + "after"
			for hazard, c := range map[string]struct {
				staged string
				at     int64
				good   bool
			}{
				"packed":               {pack, 6, true},
				"packed_elsewhere":     {pack, 5, false},
				"pack_ends_within":     {pack[:5+size], 6, false},
				"pack_ends_before":     {pack[:6], 6, false},
				"pack_ends_far_before": {pack[:1], 6, false},
			} {
				f := r.head.Files[0]
				f.StagedKey, f.StagedAt, f.PackBytes = hazard, c.at, int64(len(pack))
				_, err := r.staging.Put(t.Context(), hazard, strings.NewReader(c.staged), objstore.PutOptions{})
				require.NoError(t, err)
				s, err := spoolStaged(t.Context(), r.staging, dir, &f)
				if !c.good {
					require.ErrorIs(t, err, errDamaged, hazard)
					continue
				}
				require.NoError(t, err)
				got, err := io.ReadAll(s)
				require.NoError(t, err)
				require.Equal(t, content, string(got))
				s.remove()
			}
		})
	}
}

// TestSlowStagedFileIsReadToTheEnd: a staged file is read as long as bytes arrive, however slowly,
// because reads share the line with deliveries.
func TestSlowStagedFileIsReadToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := objstore.NewMemory("staging")
		files := stagePack(t, store, "one", "two")
		alone := ledgertest.File(testLog, ledger.File{First: 5}, []byte("three"))
		ledgertest.Put(t, store, alone.StagedKey, []byte("three"))
		c := &Copier{shared: &shared{deps: Deps{Staging: trickleStore{store}}}}
		for _, f := range []ledger.File{files[0], alone} {
			body, err := c.fetch(t.Context(), &f)
			require.NoError(t, err)
			require.NotNil(t, body)
			body.remove()
		}
		require.NotNil(t, newPacks(trickleStore{store}).readWithNeighbours(t.Context(), &ledger.Entry{Files: files}, 1))
	})
}

// trickleStore is a store that returns a byte every twenty seconds.
type trickleStore struct{ objstore.Store }

func (n trickleStore) GetRange(ctx context.Context, key string, from, length int64) (io.ReadCloser, error) {
	r, err := n.Store.GetRange(ctx, key, from, length)
	return trickleBody{r, ctx}, err
}

type trickleBody struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // the request's
}

func (b trickleBody) Read(p []byte) (int, error) {
	select {
	case <-b.ctx.Done():
		return 0, &objstore.Error{Op: "get", Kind: objstore.ErrUnavailable, Err: context.Cause(b.ctx)}
	case <-time.After(20 * time.Second):
		return b.ReadCloser.Read(p[:1])
	}
}
