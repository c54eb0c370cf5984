// Package s3server is S3 and STS in one HTTP handler, on a directory. It is
// what `sealift dev` and `sealift demo` deliver to, and what tests use in
// AWS's place.
//
// It promises what Sealift needs of AWS, judged as strictly: Signature
// Version 4 (header and query, chunked bodies with trailers), whole-object
// PUTs with If-None-Match and checksums, listings in byte order, roles that
// are assumed with the right ExternalId only and may do nothing but put. An
// object that was answered 200 survives a kill -9 of the process; with
// Config.Sync, of the machine. AWS's tools and SDKs work against it.
//
// It does not do multipart uploads, copies, versions, tags or bucket
// policies: they are answered 501 NotImplemented. It does not encrypt;
// server-side encryption headers are checked, kept and echoed. One process
// owns a directory.
package s3server

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says where the server keeps its data and who its operator is.
type Config struct {
	// Dir holds everything; created if missing. Required.
	Dir string
	// AccessKey and SecretKey are the credentials of the root principal, who
	// may do everything and assume roles. Required.
	AccessKey, SecretKey string
	// Region of buckets created without another. Default us-east-1.
	Region string
	// Account is the 12-digit account of the root principal. Default
	// 000000000000.
	Account string
	// Sync flushes every object to the disk before it is answered. Without, a
	// crash of the machine (not of the process) may lose the last seconds.
	Sync bool
	// Log gets what the owner should know. Default: nothing.
	Log *slog.Logger
}

// Server is the handler. It is safe for concurrent use.
type Server struct {
	cfg        Config
	sessionKey []byte // signs session tokens
	lock       *os.File
	now        func() time.Time

	mu      sync.RWMutex // guards all below
	buckets map[string]*bucket
	roles   map[string]Role // by ARN
	fault   func(*http.Request) Fault
	counts  map[string]int64
}

// Open opens the directory, or makes it. It reads the description of every
// object, some 20,000 a second on a busy machine, to rebuild the listings.
func Open(cfg Config) (*Server, error) {
	if cfg.Dir == "" || cfg.AccessKey == "" || cfg.SecretKey == "" {
		return nil, errors.New("open object server: Dir, AccessKey and SecretKey must be set")
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Account == "" {
		cfg.Account = "000000000000"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, now: time.Now,
		buckets: map[string]*bucket{}, roles: map[string]Role{}, counts: map[string]int64{},
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open object server in %q: %w", cfg.Dir, err), s.Close())
	}
	return s, nil
}

func (s *Server) open() error {
	if err := os.MkdirAll(s.bucketsDir(), 0o700); err != nil {
		return err
	}
	var err error
	if s.lock, err = lockFile(filepath.Join(s.cfg.Dir, "lock")); err != nil {
		return err
	}
	// Files here were never answered.
	if err := os.RemoveAll(s.tempDir()); err != nil {
		return err
	}
	if err := os.Mkdir(s.tempDir(), 0o700); err != nil {
		return err
	}
	if s.sessionKey, err = loadKey(filepath.Join(s.cfg.Dir, "session.key")); err != nil {
		return err
	}
	dirs, err := os.ReadDir(s.bucketsDir())
	if err != nil {
		return err
	}
	for _, d := range dirs {
		b, err := openBucket(s.bucketsDir(), d.Name(), s.cfg.Log)
		if err != nil {
			return err
		}
		if b != nil {
			s.buckets[b.name] = b
		}
	}
	return nil
}

func (s *Server) bucketsDir() string { return filepath.Join(s.cfg.Dir, "buckets") }
func (s *Server) tempDir() string    { return filepath.Join(s.cfg.Dir, "tmp") }

// Close lets another process have the directory. Requests must have ended.
func (s *Server) Close() error {
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close()
	s.lock = nil
	return err
}

// Bucket describes a bucket to be made.
type Bucket struct {
	Name string
	// Region where it lives; requests signed for another are answered 301
	// with the right one. Default Config.Region.
	Region string
	// Owner is the 12-digit account that x-amz-expected-bucket-owner must
	// name. Default: any.
	Owner string
}

// CreateBucket makes a bucket in the server's region, owned by nobody in
// particular. It is no error if it exists.
func (s *Server) CreateBucket(name string) error {
	s.mu.RLock()
	_, exists := s.buckets[name]
	s.mu.RUnlock()
	if exists {
		return nil
	}
	return s.PutBucket(Bucket{Name: name})
}

// PutBucket makes a bucket, or gives an existing one this region and owner.
// Its objects stay.
func (s *Server) PutBucket(b Bucket) error {
	if b.Region == "" {
		b.Region = s.cfg.Region
	}
	if !bucketName.MatchString(b.Name) || strings.Contains(b.Name, "..") {
		return fmt.Errorf("create bucket %q: not a bucket name (3 to 63 of a-z, 0-9, '-' and '.')", b.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.buckets[b.Name]; old != nil {
		return old.describe(b.Region, b.Owner, s.now())
	}
	created, err := createBucket(s.bucketsDir(), b, s.now())
	if err != nil {
		return fmt.Errorf("create bucket %q: %w", b.Name, err)
	}
	s.buckets[b.Name] = created
	return nil
}

// Buckets returns the names of all buckets, sorted.
func (s *Server) Buckets() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.buckets))
}

// Requests returns how many requests of each operation arrived ("PutObject",
// "AssumeRole"), refused ones included.
func (s *Server) Requests() map[string]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.counts)
}

func (s *Server) count(op string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[op]++
}
