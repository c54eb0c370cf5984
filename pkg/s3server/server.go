// Package s3server is S3 and STS in one HTTP handler that stores its data in a directory. `sealift
// dev` and `sealift demo` deliver to it, and tests use it instead of AWS.
//
// It promises what Sealift needs from AWS, and is as strict: Signature Version 4 (header and query,
// chunked bodies with trailers), whole-object PUTs with If-None-Match and checksums, listings in
// byte order; accounts with users, roles, buckets and KMS keys, whose policies are evaluated by
// pkg/iam; and AWS's answers to those without permission. An object that was answered 200 survives
// a kill -9 of the process; a crash of the machine may lose the last seconds. AWS's tools and SDKs
// work with it.
//
// It does not do multipart uploads, copies, versions or tags, nor the calls that configure buckets,
// roles and keys (its Go methods do that). They are answered 501 NotImplemented. Anonymous requests
// are refused, whatever a policy says. It does not encrypt, but decides as if it did. A directory
// belongs to one process.
package s3server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/flock"
)

// Config says where the server keeps its data and who its operator is.
type Config struct {
	// Dir holds everything; created if missing. Required.
	Dir string
	// AccessKey and SecretKey are the credentials of the root principal, who may do everything and
	// assume roles. Required.
	AccessKey, SecretKey string
	// Region is the default region of new buckets. Default us-east-1.
	Region string
	// Account is the 12-digit account of the root principal. Default
	// 000000000000.
	Account string
	// Log receives what the owner should know. Default: nothing is logged.
	Log *slog.Logger
}

// Server is the handler. It is safe for concurrent use.
type Server struct {
	cfg        Config
	sessionKey []byte // signs session tokens
	lock       *flock.File
	now        func() time.Time

	mu                 sync.RWMutex // guards everything below
	buckets            map[string]*bucket
	users              map[string]User // by access key
	roles              map[string]Role // by ARN
	keys               map[string]Key  // by ARN
	stsDisabledRegions map[string]bool // regions without STS
	sessionsEndedAt    time.Time       // sessions issued up to this time have ended
	fault              func(*http.Request) Fault
	counts             map[string]int64
	bucketCounts       map[string]map[string]int64 // counts per bucket
}

// Open opens the directory, creating it if necessary. To rebuild the listings, it reads the
// description of every object, some 20,000 per second on a busy machine.
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
		buckets: map[string]*bucket{}, users: map[string]User{}, roles: map[string]Role{}, keys: map[string]Key{},
		stsDisabledRegions: map[string]bool{}, counts: map[string]int64{}, bucketCounts: map[string]map[string]int64{},
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
	if s.lock, err = flock.Open(filepath.Join(s.cfg.Dir, "lock")); err != nil {
		return err
	}
	// PUTs with files here were never answered.
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
		if !d.IsDir() { // file managers leave such files
			continue
		}
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

// Close releases the directory. Requests must have ended.
func (s *Server) Close() error {
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close()
	s.lock = nil
	return err
}
