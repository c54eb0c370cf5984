package auditor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
)

// stays remembers which parked jobs need not be read: reading all of them at every audit would take
// many requests where much is parked. It is also stored in the staging bucket, so that a restart
// reads only what is new. Losing it costs requests.
type stays struct {
	mu sync.Mutex // guards all fields below
	// until is, by destination, when the latest note was stored that has been read and found to
	// need a person, in unix ms. Only destinations that files may be sent to are listed.
	until  map[string]int64
	loaded bool
}

// staysKey has fewer parts than the key of a hint.
const staysKey = hintPrefix + "parked.json"

type staysNote struct {
	Version int              `json:"version"`
	Until   map[string]int64 `json:"until"`
}

const staysVersion = 1

// sameTime is how far the store's clocks may differ from each other.
const sameTime = time.Minute

// load reads, once, what an earlier auditor noted. It ignores what makes no sense, and times in the
// future, which a clock that was ahead has written.
func (s *stays) load(ctx context.Context, staging objstore.Store, now time.Time) error {
	s.mu.Lock()
	loaded := s.loaded
	s.mu.Unlock()
	if loaded {
		return nil
	}
	b, err := objstore.Read(ctx, staging, staysKey, maxHint)
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		return err
	}
	var note staysNote
	if err != nil || json.Unmarshal(b, &note) != nil || note.Version != staysVersion {
		note.Until = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = true
	for dest, at := range note.Until {
		if at <= now.UnixMilli() {
			s.until[dest] = max(s.until[dest], at)
		}
	}
	return nil
}

// unread returns the parked jobs to read: those of destinations that files may be sent to, and that
// were not read before. latest is to be passed to looked afterwards.
func (s *stays) unread(p *parkedSet, enabled func(destination string) bool) (notes []debt, latest map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest = map[string]int64{}
	for of, n := range p.all() {
		dest := of.destination
		switch {
		case !enabled(dest):
			delete(s.until, dest)
		case n.at >= s.until[dest]-sameTime.Milliseconds():
			notes = append(notes, debt{of.ref(n), dest})
			latest[dest] = max(latest[dest], n.at)
		}
	}
	return notes, latest
}

// looked records that everything in unread has been read by now. It returns what to store, or nil
// if nothing changed.
func (s *stays) looked(latest map[string]int64, now time.Time) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := maps.Clone(s.until)
	for dest, at := range latest {
		s.until[dest] = max(s.until[dest], min(at, now.UnixMilli())) // the store's clock may be ahead for a while
	}
	if maps.Equal(before, s.until) {
		return nil
	}
	b, err := json.Marshal(staysNote{staysVersion, s.until})
	if err != nil { // cannot fail: a map of strings to numbers
		panic(err)
	}
	return append(b, '\n')
}

func storeStays(ctx context.Context, staging objstore.Store, b []byte) error {
	_, err := staging.Put(ctx, staysKey, bytes.NewReader(b), objstore.PutOptions{ContentType: "application/json"})
	return err
}
