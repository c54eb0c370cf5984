package s3server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"
	"golang.org/x/sync/errgroup"
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// bucket is one bucket on disk, with its listing in memory:
//
//	buckets/{name}/bucket.json         region, owner, policy, …
//	buckets/{name}/objects/{hh}/{hash} one file per object, named by the sha256 of its key
//	buckets/{name}/torn/{hash}         files that are not a whole object
type bucket struct {
	name, dir string

	mu      sync.RWMutex // guards everything below, and changes of the files
	meta    bucketMeta
	index   btree.Map[string, entry]
	deleted bool // it was deleted; whoever still has it must not put anything into it
}

// bucketMeta is bucket.json.
type bucketMeta struct {
	Bucket

	Created time.Time `json:"created"`
}

// entry is what a listing says about an object.
type entry struct {
	size     int64
	etag     string
	modified int64 // unix ms
}

func createBucket(root string, b Bucket, now time.Time) (*bucket, error) {
	out := &bucket{name: b.Name, dir: filepath.Join(root, b.Name)}
	if err := os.MkdirAll(filepath.Join(out.dir, "objects"), 0o700); err != nil {
		return nil, err
	}
	if err := syncDir(root); err != nil {
		return nil, err
	}
	return out, out.setMeta(b, now)
}

// openBucket opens a bucket. It returns nil if the bucket's creation was never finished.
func openBucket(root, name string, log *slog.Logger) (*bucket, error) {
	b := &bucket{name: name, dir: filepath.Join(root, name)}
	raw, err := os.ReadFile(filepath.Join(b.dir, "bucket.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &b.meta); err != nil {
		return nil, fmt.Errorf("read bucket %q: %w", name, err)
	}
	b.meta.Name = name
	return b, b.rebuild(log)
}

// objectDirName matches the names of directories with objects, as made by path.
var objectDirName = regexp.MustCompile(`^[0-9a-f]{2}$`)

// rebuild fills the index from the objects' own descriptions.
func (b *bucket) rebuild(log *slog.Logger) error {
	dirs, err := os.ReadDir(filepath.Join(b.dir, "objects"))
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(8)
	for _, d := range dirs {
		if !objectDirName.MatchString(d.Name()) || !d.IsDir() {
			continue
		}
		group.Go(func() error {
			dir := filepath.Join(b.dir, "objects", d.Name())
			files, err := os.ReadDir(dir)
			if err != nil {
				return err
			}
			for _, f := range files {
				if f.IsDir() { // network storage creates such directories
					continue
				}
				o, err := openObject(filepath.Join(dir, f.Name()))
				var meta objectMeta
				if err == nil {
					meta = o.meta
					err = o.Close()
				}
				if err == nil && b.path(meta.Key) != filepath.Join(dir, f.Name()) {
					err = fmt.Errorf("%w: a copy of %q", errTorn, meta.Key)
				}
				if errors.Is(err, errTorn) {
					// The machine crashed, or somebody copied the file.
					log.Error("object is torn and left out", "bucket", b.name, "file", f.Name(), "err", err)
					if err := b.setAside(d.Name(), f.Name()); err != nil {
						return err
					}
					continue
				} else if err != nil {
					return err
				}
				b.mu.Lock()
				b.index.Set(meta.Key, meta.entry())
				b.mu.Unlock()
			}
			return nil
		})
	}
	return group.Wait()
}

// setAside moves a torn file away from the objects. Otherwise its key would count as taken for
// conditional PUTs, and as missing for all other requests.
func (b *bucket) setAside(dir, file string) error {
	torn := filepath.Join(b.dir, "torn")
	if err := makeDir(torn); err != nil {
		return err
	}
	return os.Rename(filepath.Join(b.dir, "objects", dir, file), filepath.Join(torn, dir+file))
}

// setMeta sets everything about a bucket except its objects.
func (b *bucket) setMeta(as Bucket, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	meta := bucketMeta{Bucket: as, Created: b.meta.Created}
	if meta.Created.IsZero() {
		meta.Created = now.UTC()
	}
	raw, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "bucket.json")
	if there, err := os.ReadFile(file); err != nil || !bytes.Equal(there, raw) {
		if err := writeFile(file, raw); err != nil {
			return fmt.Errorf("describe bucket %q: %w", b.name, err)
		}
	}
	b.meta = meta
	return nil
}

// remove deletes the bucket. If it returns false, the bucket still exists: without an error,
// because it is not empty.
func (b *bucket) remove() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.index.Len() > 0 {
		return false, nil
	}
	// Remove the description first: without it, the rest is not a bucket.
	if err := os.Remove(filepath.Join(b.dir, "bucket.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	b.deleted = true
	return true, os.RemoveAll(b.dir)
}

func (b *bucket) metadata() bucketMeta {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.meta
}

// page is one answer to a listing.
type page struct {
	items     []item
	truncated bool
}

// item is an object, or a common prefix if entry is nil.
type item struct {
	key   string
	entry *entry
}

// position is where a listing continues: after a key, or after all keys with a common prefix.
type position struct {
	after  string
	prefix bool
}

// list returns up to limit objects and common prefixes after the position. Its cost depends on what
// it returns, not on how much is below a common prefix.
func (b *bucket) list(prefix, delimiter string, from position, limit int) page {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var p page
	pivot := prefix
	if from.after != "" {
		start := from.after
		if from.prefix {
			start = pastPrefix(from.after)
		}
		if start == "" { // nothing sorts after it
			return p
		}
		pivot = max(prefix, start)
	}
	for {
		next := ""
		b.index.Ascend(pivot, func(key string, e entry) bool {
			if key == from.after && !from.prefix {
				return true
			}
			if !strings.HasPrefix(key, prefix) {
				return false
			}
			if len(p.items) == limit {
				p.truncated = true
				return false
			}
			if i := strings.Index(key[len(prefix):], delimiter); delimiter != "" && i >= 0 {
				common := key[:len(prefix)+i+len(delimiter)]
				p.items = append(p.items, item{key: common})
				next = pastPrefix(common) // skip the rest of them
				return false
			}
			p.items = append(p.items, item{key: key, entry: &e})
			return true
		})
		if next == "" {
			return p
		}
		pivot = next
	}
}

// pastPrefix returns the first string that sorts after all strings with the prefix, or "" if there
// is none.
func pastPrefix(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return ""
}
