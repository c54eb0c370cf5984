package appender

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/flock"
	"github.com/sealift/sealift/pkg/segment"
)

// dataDir is the data directory. It belongs to one process at a time and holds the worker's stable
// name, by which the worker keeps its partitions.
type dataDir struct {
	worker string
	lock   *flock.File
}

// openDataDir locks the directory, unless there are local files of a later release. It deletes what
// was remembered of other topics and incarnations. Their local files stay, since they may be the
// only copy: see sweepLeftovers.
func openDataDir(dir, topic, incarnation string) (*dataDir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create appender.data_dir %q: %w", dir, err)
	}
	lock, err := flock.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open appender.data_dir: %w", err)
	}
	if err := refuseLaterFiles(filepath.Join(dir, spoolDir)); err != nil {
		_ = lock.Close()
		return nil, err
	}
	stores := filepath.Join(dir, dedupDir)
	for path, kept := range map[string]string{stores: topic, filepath.Join(stores, topic): incarnation} {
		if err := deleteExcept(path, func(name string) bool { return name == kept }); err != nil {
			_ = lock.Close()
			return nil, err
		}
	}
	worker, err := loadWorkerName(filepath.Join(dir, "worker"))
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return &dataDir{worker: worker, lock: lock}, nil
}

// spoolDir, below the data directory, holds the partitions' open files.
const spoolDir = "spool"

// spoolsDir holds the partitions' spools, which are named by partition number.
func (a *Appender) spoolsDir() string {
	return filepath.Join(a.cfg.DataDir, spoolDir, a.cfg.Topic, a.cfg.Incarnation)
}

// refuseLaterFiles returns an error if local files cannot be read because a later release wrote
// them. Read as damaged, they would be deleted, and they may be the only copy. No partition is
// taken over before, so the other workers go on with what Kafka still has.
func refuseLaterFiles(spools string) error {
	dirs, err := fs.Glob(os.DirFS(spools), "*/*/*")
	if err != nil {
		return fmt.Errorf("look for local files of a later release: %w", err)
	}
	var files []string
	for _, path := range dirs {
		if _, ok := logOf(path); !ok { // it is about to be deleted, see renameForDeletion
			continue
		}
		if f := segment.LaterFile(filepath.Join(spools, path)); f != "" {
			files = append(files, strconv.Quote(f))
		}
	}
	if len(files) == 0 {
		return nil
	}
	return fmt.Errorf("a later release wrote local files in a format that this one cannot read, and Kafka may no longer have what they hold: %s; "+
		"run that release again, or delete the directories of these files to give them up", strings.Join(files, ", "))
}

// deleteExcept deletes everything in dir that keep rejects. Nobody else would delete it, and it
// would fill the disk for good.
func deleteExcept(dir string, keep func(name string) bool) error {
	left, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // whoever creates it reports the problem
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep appender.data_dir: %w", err)
	}
	for _, d := range left {
		if keep(d.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, d.Name())); err != nil {
			return fmt.Errorf("sweep appender.data_dir: %w", err)
		}
	}
	return nil
}

// loadWorkerName reads the worker's name. If there is none, it makes one up and stores it.
func loadWorkerName(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read worker name: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	name := host + "-" + uuid.NewString()[:8]
	if err := os.WriteFile(path, []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep worker name: %w", err)
	}
	return name, nil
}

func (h *dataDir) close() { _ = h.lock.Close() }
