package collector

import (
	"sync"

	"github.com/sealift/sealift/pkg/stream"
)

// spooledKeys knows whose events are in the spool: new events of these sources go behind them. It
// may know of too many sources, never of too few, and of none when the spool is empty. The zero
// value stands for an empty spool.
type spooledKeys struct {
	mu             sync.Mutex
	unread         bool      // guarded by mu; the spool had entries at the start, of unknown sources
	events         keyCounts // guarded by mu; includes events on their way into the spool
	storingParcels int       // guarded by mu; parcels on their way into the spool
}

// keyCounts is the number of records by key.
type keyCounts map[string]int

func (k *keyCounts) add(records []stream.Record, n int) {
	if *k == nil {
		*k = keyCounts{}
	}
	for i := range records {
		key := string(records[i].Key)
		if (*k)[key] += n; (*k)[key] <= 0 {
			delete(*k, key)
		}
	}
}

// split returns the records that have none of the keys, and those that do.
func (k keyCounts) split(records []stream.Record) (none, some []stream.Record) {
	if len(k) == 0 {
		return records, nil
	}
	for i := range records {
		if k[string(records[i].Key)] > 0 {
			some = append(some, records[i])
		} else {
			none = append(none, records[i])
		}
	}
	return none, some
}

// split returns the events that need not go behind what is in the spool, and those that must.
func (s *spooledKeys) split(events []stream.Record) (now, later []stream.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unread {
		return nil, events
	}
	return s.events.split(events)
}

// beginStore says that events are on their way into the spool; endStore follows and says whether
// they are in it.
func (s *spooledKeys) beginStore(events []stream.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storingParcels++
	s.events.add(events, 1)
}

func (s *spooledKeys) endStore(events []stream.Record, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storingParcels--
	if !ok {
		s.events.add(events, -1)
	}
}

// remove says that an entry's events are in Kafka, and whether the entry was found in the spool at
// the start. Entries leave in order.
func (s *spooledKeys) remove(events []stream.Record, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !found {
		s.unread = false
		s.events.add(events, -1)
	}
}

// mayHoldEvents tells whether the spool may hold events.
func (s *spooledKeys) mayHoldEvents() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unread || len(s.events) > 0
}

// holdsAtMost tells whether the spool holds at most n event records.
func (s *spooledKeys) holdsAtMost(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, count := range s.events {
		n -= count
	}
	return !s.unread && n >= 0
}

// resetIfEmpty forgets everything if the spool is empty: entries that were damaged never leave.
func (s *spooledKeys) resetIfEmpty(empty func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storingParcels == 0 && empty() {
		s.unread = false
		clear(s.events)
	}
}
