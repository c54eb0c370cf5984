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

// parkedReads remembers which parked jobs need not be read: reading all of them at every audit
// would take many requests where much is parked. It is also stored in the staging bucket, so that a
// restart reads only what is new. Losing it costs requests.
type parkedReads struct {
	mu sync.Mutex // guards all fields below
	// readUntil is, by destination, when the latest note was stored that has been read and found to
	// need a person, in unix ms. Only destinations that files may be sent to are listed.
	readUntil map[string]int64
	loaded    bool
}

// parkedReadsKey has fewer parts than the key of a hint.
const parkedReadsKey = hintPrefix + "parked.json"

type parkedReadsNote struct {
	Version int              `json:"version"`
	Until   map[string]int64 `json:"until"`
}

const parkedReadsVersion = 1

// maxClockDifference is how far the store's clocks may differ from each other.
const maxClockDifference = time.Minute

// load reads, once, what an earlier auditor noted. It ignores what makes no sense, and times in the
// future, which a clock that was ahead has written.
func (s *parkedReads) load(ctx context.Context, staging objstore.Store, now time.Time) error {
	s.mu.Lock()
	loaded := s.loaded
	s.mu.Unlock()
	if loaded {
		return nil
	}
	b, err := objstore.Read(ctx, staging, parkedReadsKey, maxHint)
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		return err
	}
	var note parkedReadsNote
	if err != nil || json.Unmarshal(b, &note) != nil || note.Version != parkedReadsVersion {
		note.Until = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = true
	for dest, at := range note.Until {
		if at <= now.UnixMilli() {
			s.readUntil[dest] = max(s.readUntil[dest], at)
		}
	}
	return nil
}

// unread returns the parked jobs to read: those of destinations that files may be sent to, and that
// were not read before. latest is to be passed to markRead afterwards.
func (s *parkedReads) unread(p *parkedSet, enabled func(destination string) bool) (notes []debt, latest map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest = map[string]int64{}
	for group, n := range p.all() {
		dest := group.destination
		switch {
		case !enabled(dest):
			delete(s.readUntil, dest)
		case n.at >= s.readUntil[dest]-maxClockDifference.Milliseconds():
			notes = append(notes, debt{group.ref(n), dest})
			latest[dest] = max(latest[dest], n.at)
		}
	}
	return notes, latest
}

// markRead records that everything in unread has been read by now. It returns what to store, or nil
// if nothing changed.
func (s *parkedReads) markRead(latest map[string]int64, now time.Time) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := maps.Clone(s.readUntil)
	for dest, at := range latest {
		s.readUntil[dest] = max(s.readUntil[dest], min(at, now.UnixMilli())) // the store's clock may be ahead for a while
	}
	if maps.Equal(before, s.readUntil) {
		return nil
	}
	b, err := json.Marshal(parkedReadsNote{parkedReadsVersion, s.readUntil})
	if err != nil { // cannot fail: a map of strings to numbers
		panic(err)
	}
	return append(b, '\n')
}

func storeParkedReads(ctx context.Context, staging objstore.Store, b []byte) error {
	_, err := staging.Put(ctx, parkedReadsKey, bytes.NewReader(b), objstore.PutOptions{ContentType: "application/json"})
	return err
}
