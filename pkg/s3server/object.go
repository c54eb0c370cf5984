package s3server

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// An object is one file: its bytes, then its description as JSON, then the description's length (4
// bytes, big endian) and the magic. Bytes and description appear together, in one rename. The bytes
// begin at offset 0, so ranges need no arithmetic.
const magic = "SLS3OBJ1"

// maxMeta limits the size of a description.
const maxMeta = 1 << 20

// errTorn says that a file is not a whole object.
var errTorn = errors.New("torn object file")

// objectMeta describes an object.
type objectMeta struct {
	Key      string `json:"key"`
	Size     int64  `json:"size"`
	ETag     string `json:"etag"`     // without quotes
	Modified int64  `json:"modified"` // unix ms
	// Header holds the object's HTTP headers by canonical name:
	// Content-Type, X-Amz-Meta-*, X-Amz-Server-Side-Encryption, …
	Header map[string]string `json:"header,omitempty"`
	// Checksum holds base64 by algorithm: "sha256", "crc32", …
	Checksum map[string]string `json:"checksum,omitempty"`
	ACL      string            `json:"acl,omitempty"`
	// Owner is the account of the writer, if the object does not belong to the bucket's owner.
	Owner string `json:"owner,omitempty"`
	// Context is the encryption context's ARN, for SSE-KMS.
	Context string `json:"context,omitempty"`
}

func (m *objectMeta) entry() entry {
	return entry{size: m.Size, etag: m.ETag, modified: m.Modified}
}

func (m *objectMeta) modified() time.Time { return time.UnixMilli(m.Modified).UTC() }

// object is an open object file.
type object struct {
	*os.File
	meta objectMeta
}

func openObject(name string) (_ *object, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// For most descriptions one read is enough.
	end := make([]byte, min(info.Size(), 1024))
	if _, err := f.ReadAt(end, info.Size()-int64(len(end))); err != nil {
		return nil, err
	}
	rest, ok := bytes.CutSuffix(end, []byte(magic))
	if !ok || len(rest) < 4 {
		return nil, fmt.Errorf("%w: no magic at its end", errTorn)
	}
	length := int64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	rest = rest[:len(rest)-4]
	size := info.Size() - int64(len(magic)) - 4 - length
	if size < 0 || length > maxMeta {
		return nil, fmt.Errorf("%w: description of %d bytes", errTorn, length)
	}
	raw := rest[max(0, int64(len(rest))-length):]
	if int64(len(raw)) < length {
		raw = make([]byte, length)
		if _, err := f.ReadAt(raw, size); err != nil {
			return nil, err
		}
	}
	o := &object{File: f}
	if err := json.Unmarshal(raw, &o.meta); err != nil {
		return nil, fmt.Errorf("%w: %w", errTorn, err)
	}
	if o.meta.Size != size {
		return nil, fmt.Errorf("%w: %d bytes, described as %d", errTorn, size, o.meta.Size)
	}
	return o, nil
}

// appendMeta appends the description to the object's bytes.
func appendMeta(f *os.File, meta *objectMeta) error {
	raw, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	raw = binary.BigEndian.AppendUint32(raw, uint32(len(raw)))
	_, err = f.Write(append(raw, magic...))
	return err
}

// path returns the file of a key. Names are hashes, so no key can escape the directory or be too
// long for it.
func (b *bucket) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(b.dir, "objects", name[:2], name[2:])
}

// open opens an object, or returns fs.ErrNotExist.
func (b *bucket) open(key string) (*object, error) {
	b.mu.RLock()
	_, ok := b.index.Get(key)
	b.mu.RUnlock()
	if !ok {
		return nil, fs.ErrNotExist
	}
	return openObject(b.path(key))
}

// condition is what a PUT requires of its key.
type condition struct {
	absent bool   // If-None-Match: *
	etag   string // If-Match, "" for none
}

// commit makes the finished file the object, if the condition holds. The file no longer exists
// afterwards, whatever the outcome.
func (b *bucket) commit(temp string, meta *objectMeta, when condition) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer os.Remove(temp) //nolint:errcheck // renamed already, or swept at the next Open
	current, taken := b.index.Get(meta.Key)
	switch {
	case b.deleted:
		return noSuchBucket
	case when.etag != "" && !taken:
		return noSuchKey
	case when.absent && taken, when.etag != "" && when.etag != current.etag && when.etag != "*":
		return preconditionFailed
	}
	name := b.path(meta.Key)
	if err := makeDir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	b.index.Set(meta.Key, meta.entry())
	return nil
}

// delete removes an object if it exists.
func (b *bucket) delete(key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.Remove(b.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b.index.Delete(key)
	return nil
}

// writeFile replaces a small file atomically and durably.
func writeFile(name string, data []byte) error {
	temp := name + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// makeDir creates a directory unless it exists.
func makeDir(name string) error {
	if err := os.Mkdir(name, 0o700); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
