package objstore

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3's ETag
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tidwall/btree"
)

// Memory is a bucket in memory that behaves like S3, including S3's faults on demand (see
// SetFault). Unit tests and simulations run on it. It records every PUT.
type Memory struct {
	bucket string

	mu      sync.Mutex // guards everything below
	objects btree.Map[string, memoryObject]
	fault   func(Op) Fault
	counts  map[opKey]int
	puts    []PutRecord
	ghosts  []ghost
}

type memoryObject struct {
	info Info
	body []byte
}

var (
	_ Store  = (*Memory)(nil)
	_ Reader = (*Memory)(nil)
)

// NewMemory returns an empty bucket.
func NewMemory(bucket string) *Memory {
	return &Memory{bucket: bucket, counts: map[opKey]int{}}
}

func (m *Memory) String() string { return fmt.Sprintf("bucket %q in memory", m.bucket) }

// Put implements Store.
func (m *Memory) Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) (Info, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return Info{}, &Error{Op: "put", Bucket: m.bucket, Key: key, Kind: ErrBody, Err: err}
	}
	sum := sha256.Sum256(data)
	if err := m.check(ctx, "put", key); err != nil {
		return Info{}, err
	}
	if opts.SHA256 != ([32]byte{}) && opts.SHA256 != sum {
		return Info{}, m.refuse("put", key, ErrInvalid, 400, "BadDigest", "the SHA256 you specified did not match the calculated checksum")
	}
	opts.SHA256, opts.Metadata = sum, lowerKeys(opts.Metadata)

	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.nextFault(Op{Name: "put", Key: key, Put: &opts})
	if f.Ghost {
		m.ghosts = append(m.ghosts, ghost{key: key, data: data, opts: opts})
	}
	if f.Before != nil {
		m.puts = append(m.puts, PutRecord{Key: key, SHA256: sum})
		return Info{}, m.injectedError("put", key, f.Before)
	}
	info, err := m.apply(key, data, opts)
	if f.After != nil {
		return Info{}, m.injectedError("put", key, f.After)
	}
	return info, err
}

// apply carries out a PUT. The caller holds mu.
func (m *Memory) apply(key string, data []byte, opts PutOptions) (Info, error) {
	_, taken := m.objects.Get(key)
	record := PutRecord{Key: key, SHA256: opts.SHA256, Applied: !opts.IfAbsent || !taken}
	m.puts = append(m.puts, record)
	if !record.Applied {
		return Info{}, m.refuse("put", key, ErrExists, 412, "PreconditionFailed", "at least one of the pre-conditions you specified did not hold")
	}
	keyed := opts.ServerSideEncryption == "aws:kms"
	tag := md5.Sum(data) //nolint:gosec // S3's ETag
	if keyed {
		tag = md5.Sum([]byte(key + string(data))) //nolint:gosec // it is of other bytes
	}
	o := memoryObject{body: data, info: Info{
		Key: key, Size: int64(len(data)), ETag: hex.EncodeToString(tag[:]), LastModified: time.Now().UTC(),
		ContentType: opts.ContentType, ContentEncoding: opts.ContentEncoding, Metadata: opts.Metadata, KeyedETag: keyed,
	}}
	m.objects.Set(key, o)
	return o.copyInfo(), nil
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	o, err := m.read(ctx, "get", key)
	if err != nil {
		return nil, Info{}, err
	}
	return io.NopCloser(bytes.NewReader(o.body)), o.copyInfo(), nil
}

// GetFrom implements Reader.
func (m *Memory) GetFrom(ctx context.Context, key, etag string, from int64) (io.ReadCloser, Info, error) {
	o, err := m.read(ctx, "get", key)
	switch {
	case err != nil:
		return nil, Info{}, err
	case etag != "" && etag != o.info.ETag:
		return nil, Info{}, m.refuse("get", key, ErrChanged, 412, "PreconditionFailed", "at least one of the pre-conditions you specified did not hold")
	case from > 0 && from >= int64(len(o.body)):
		return nil, Info{}, m.refuse("get", key, ErrInvalid, 416, "InvalidRange", "the requested range is not satisfiable")
	}
	return io.NopCloser(bytes.NewReader(o.body[from:])), o.copyInfo(), nil
}

// GetRange implements Store.
func (m *Memory) GetRange(ctx context.Context, key string, from, length int64) (io.ReadCloser, error) {
	o, err := m.read(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(bytes.NewReader(o.body), from, length)), nil
}

// Head implements Store.
func (m *Memory) Head(ctx context.Context, key string) (Info, error) {
	o, err := m.read(ctx, "head", key)
	return o.copyInfo(), err
}

func (m *Memory) read(ctx context.Context, op, key string) (memoryObject, error) {
	if err := m.check(ctx, op, key); err != nil {
		return memoryObject{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.nextFault(Op{Name: op, Key: key}); f.err() != nil {
		return memoryObject{}, m.injectedError(op, key, f.err())
	}
	o, ok := m.objects.Get(key)
	if !ok {
		return memoryObject{}, m.refuse(op, key, ErrNotFound, 404, "NoSuchKey", "the specified key does not exist")
	}
	return o, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix, startAfter string, limit int) ([]Info, error) {
	if err := m.checkContext(ctx, "list", prefix); err != nil {
		return nil, err
	}
	limit = clampList(limit)
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.nextFault(Op{Name: "list", Key: prefix}); f.err() != nil {
		return nil, m.injectedError("list", prefix, f.err())
	}
	var infos []Info
	m.objects.Ascend(max(prefix, startAfter), func(key string, o memoryObject) bool {
		if key == startAfter {
			return true
		}
		if !strings.HasPrefix(key, prefix) {
			return key < prefix
		}
		infos = append(infos, Info{Key: key, Size: o.info.Size, ETag: o.info.ETag, LastModified: o.info.LastModified})
		return len(infos) < limit
	})
	return infos, nil
}

// Folders implements Reader.
func (m *Memory) Folders(ctx context.Context, prefix string) ([]string, error) {
	if err := m.checkContext(ctx, "list", prefix); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.nextFault(Op{Name: "list", Key: prefix}); f.err() != nil {
		return nil, m.injectedError("list", prefix, f.err())
	}
	var names []string
	m.objects.Ascend(prefix, func(key string, _ memoryObject) bool {
		rest, below := strings.CutPrefix(key, prefix)
		if name, _, folder := strings.Cut(rest, "/"); below && folder && (len(names) == 0 || names[len(names)-1] != name) {
			names = append(names, name)
		}
		return below
	})
	return names, nil
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := m.check(ctx, "delete", key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.nextFault(Op{Name: "delete", Key: key})
	if f.Before != nil {
		return m.injectedError("delete", key, f.Before)
	}
	m.objects.Delete(key)
	if f.After != nil {
		return m.injectedError("delete", key, f.After)
	}
	return nil
}

// check refuses what S3 refuses regardless of the bucket's content.
func (m *Memory) check(ctx context.Context, op, key string) error {
	if err := m.checkContext(ctx, op, key); err != nil {
		return err
	}
	switch {
	case key == "" || !utf8.ValidString(key):
		return m.refuse(op, key, ErrInvalid, 400, "InvalidArgument", "a key is 1 to 1024 bytes of UTF-8")
	case len(key) > 1024:
		return m.refuse(op, key, ErrInvalid, 400, "KeyTooLongError", "your key is too long")
	case slices.ContainsFunc(strings.Split(key, "/"), func(part string) bool { return part == "." || part == ".." }):
		// Like MinIO, which always refuses these; S3 does so only if they lead out of the bucket.
		return m.refuse(op, key, ErrInvalid, 400, "InvalidURI", "a part of the key is . or ..")
	}
	return nil
}

func (m *Memory) checkContext(ctx context.Context, op, key string) error {
	if err := context.Cause(ctx); err != nil {
		return &Error{Op: op, Bucket: m.bucket, Key: key, Kind: ErrUnavailable, Err: err}
	}
	return nil
}

func (m *Memory) refuse(op, key string, kind error, status int, code, message string) error {
	return &Error{Op: op, Bucket: m.bucket, Key: key, Kind: kind, Status: status, Code: code, Message: message}
}

func (o memoryObject) copyInfo() Info {
	info := o.info
	info.Metadata = maps.Clone(info.Metadata)
	return info
}
