package objstore

import (
	"errors"
	"net/http"
	"strings"
)

// Op is one request to a Memory bucket.
type Op struct {
	Name string // "put", "get", "head", "list" or "delete"
	Key  string // for a list: its prefix
	// N counts the requests of this name for this key, from 1.
	N int
	// Put is the options of a put, with SHA256 always filled in; nil otherwise.
	Put *PutOptions
}

// Fault says what goes wrong with one request. The zero Fault does nothing.
//
// An error that is one of this package's sentinels is returned as an *Error of that class, with
// S3's usual status and code: ErrConflict is a 409 ConditionalRequestConflict, ErrUnavailable a 503
// SlowDown, ErrDenied a 403 AccessDenied. An *Error is returned as it is. Any other error is
// returned as an ErrUnavailable without an answer, with the error as its cause.
type Fault struct {
	// Before fails the request without any effect.
	Before error
	// After fails the request although it took effect. Only used if Before is nil; for reads it is
	// the same as Before.
	After error
	// Ghost keeps a copy of a put, with its options, which arrives at the next ReleaseGhosts. With
	// Before, this is a request that was delayed; without it, one that the network duplicated.
	Ghost bool
}

func (f Fault) err() error {
	if f.Before != nil {
		return f.Before
	}
	return f.After
}

// PutRecord describes a PUT that was sent.
type PutRecord struct {
	Key     string
	SHA256  [32]byte
	Applied bool // it became the object
	Ghost   bool // it arrived in ReleaseGhosts
}

type opKey struct{ name, key string }

// ghost is a put that has not arrived yet.
type ghost struct {
	key  string
	data []byte
	opts PutOptions
}

// SetFault sets the function that decides what goes wrong with each request; nil for nothing. It is
// called under the bucket's lock, in the order in which requests take effect, so it may keep state
// without a lock of its own, but must not call the bucket or block.
func (m *Memory) SetFault(decide func(Op) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = decide
}

// ReleaseGhosts lets all delayed PUTs arrive, in order and with their own conditions, and returns
// how many were stored.
func (m *Memory) ReleaseGhosts() (applied int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ghosts := m.ghosts
	m.ghosts = nil
	for _, g := range ghosts {
		_, err := m.apply(g.key, g.data, g.opts)
		m.puts[len(m.puts)-1].Ghost = true
		if err == nil {
			applied++
		}
	}
	return applied
}

// Puts returns all PUTs below prefix, in the order in which they took effect or failed; ghosts are
// listed when they arrive.
func (m *Memory) Puts(prefix string) []PutRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []PutRecord
	for _, p := range m.puts {
		if strings.HasPrefix(p.Key, prefix) {
			out = append(out, p)
		}
	}
	return out
}

// Contents returns, for each key below prefix that was ever put, how many different contents were
// sent for it, stored or not. Where keys name the content (staged files, delivered objects), each
// number must be 1.
func (m *Memory) Contents(prefix string) map[string]int {
	type content struct {
		key string
		sum [32]byte
	}
	seen := map[content]bool{}
	out := map[string]int{}
	for _, p := range m.Puts(prefix) {
		if c := (content{p.Key, p.SHA256}); !seen[c] {
			seen[c] = true
			out[p.Key]++
		}
	}
	return out
}

// nextFault counts the request and returns its fault. The caller holds mu.
func (m *Memory) nextFault(op Op) Fault {
	k := opKey{op.Name, op.Key}
	m.counts[k]++
	op.N = m.counts[k]
	if m.fault == nil {
		return Fault{}
	}
	return m.fault(op)
}

// injectedError turns an injected error into the one to return.
func (m *Memory) injectedError(op, key string, err error) error {
	e := &Error{Op: op, Bucket: m.bucket, Key: key, Kind: ErrUnavailable, Err: err}
	var ready *Error
	if errors.As(err, &ready) {
		return err
	}
	for _, answer := range faultAnswers {
		if err == answer.kind { //nolint:errorlint // the bare sentinel asks for S3's usual answer
			e.Kind, e.Status, e.Code, e.Message, e.Err = answer.kind, answer.status, answer.code, "injected", nil
		}
	}
	return e
}

var faultAnswers = []struct {
	kind   error
	status int
	code   string
}{
	{ErrNotFound, http.StatusNotFound, "NoSuchKey"},
	{ErrNoBucket, http.StatusNotFound, "NoSuchBucket"},
	{ErrExists, http.StatusPreconditionFailed, "PreconditionFailed"},
	{ErrConflict, http.StatusConflict, "ConditionalRequestConflict"},
	{ErrDenied, http.StatusForbidden, "AccessDenied"},
	{ErrWrongRegion, http.StatusMovedPermanently, "PermanentRedirect"},
	{ErrInvalid, http.StatusBadRequest, "InvalidRequest"},
	{ErrUnavailable, http.StatusServiceUnavailable, "SlowDown"},
}
