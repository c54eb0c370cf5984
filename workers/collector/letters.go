package collector

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/spool"
	"github.com/sealift/sealift/pkg/stream"
)

// lettersShare is the divisor for the dead letters' part of the spool's size. They have a spool of
// their own, because their order does not matter, and so that letters that Kafka does not accept
// never hold up events.
const lettersShare = 8

// lettersTimeout bounds one try to produce letters from the spool. It is long because nothing waits
// for it, and a slow topic would get the same letters again and again.
const lettersTimeout = 32 * time.Second

// OpenSpools opens the spool of events, in dir, and the spool of dead letters, below it. Together
// they hold maxBytes.
func OpenSpools(dir string, maxBytes int64, log *slog.Logger) (events, letters *spool.Spool, err error) {
	lettersBytes := maxBytes / lettersShare
	if events, err = spool.Open(spool.Config{Dir: dir, MaxBytes: maxBytes - lettersBytes, IsLater: isLaterParcel}, log); err != nil {
		return nil, nil, err
	}
	if letters, err = spool.Open(spool.Config{Dir: filepath.Join(dir, "letters"), MaxBytes: lettersBytes, IsLater: isLaterParcel}, log); err != nil {
		return nil, nil, errors.Join(err, events.Close())
	}
	return events, letters, nil
}

// stuckKeys remembers the keys whose letters Kafka did not accept at the last try: further letters
// of these keys would wait for Kafka in vain. Every lettersTimeout, the letters of one request are
// tried again all the same, because letters in the spool may be stuck behind another key's. The
// zero value has no keys.
type stuckKeys struct {
	mu   sync.Mutex
	last map[string]time.Time // guarded by mu; by key, when it was tried
}

// recordResult records which letters were tried, and which of them Kafka did not accept.
func (k *stuckKeys) recordResult(tried, left []stream.Record) {
	if len(tried) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range tried {
		delete(k.last, string(tried[i].Key))
	}
	if k.last == nil {
		k.last = map[string]time.Time{}
	}
	for i := range left {
		k.last[string(left[i].Key)] = time.Now()
	}
}

// split returns the letters to try now, and the others.
func (k *stuckKeys) split(letters []stream.Record) (now, later []stream.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	still := keyCounts{}
	for i := range letters {
		if at, stuck := k.last[string(letters[i].Key)]; stuck && time.Since(at) < lettersTimeout {
			still[string(letters[i].Key)] = 1
		}
	}
	return still.split(letters)
}

// recordTry records that these letters are being tried, so that further letters of stuck keys do not
// wait beside this try.
func (k *stuckKeys) recordTry(letters []stream.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range letters {
		if _, stuck := k.last[string(letters[i].Key)]; stuck {
			k.last[string(letters[i].Key)] = time.Now()
		}
	}
}

// spoolLetters moves letters that were among events into their own spool; until that has room for
// them, the events behind them wait. It returns an error only when it has to stop earlier.
func (c *Collector) spoolLetters(stopping context.Context, letters []stream.Record, at time.Time) error {
	backoff := jitter.Backoff{Min: firstPause, Max: longestPause}
	for len(letters) > 0 {
		n := chunkLen(letters)
		switch err := c.spoolParcel(parcel{dead: letters[:n]}, at); {
		case err == nil:
			letters = letters[n:]
			backoff.Reset()
		case stopping.Err() != nil:
			return err
		default:
			_ = backoff.Wait(stopping)
		}
	}
	return nil
}

// unspoolLetters does for dead letters what unspoolEvents does for events.
func (c *Collector) unspoolLetters(stopping, cut context.Context) {
	for {
		entries, err := c.deps.Letters.Read(stopping, chunkBytes)
		if err != nil && stopping.Err() != nil {
			return
		}
		c.lettersHealth.load.observe(err)
		if err != nil {
			pause(stopping, longestPause)
			continue
		}
		bad, err := c.refillLetters(stopping, cut, entries)
		if err != nil {
			return
		}
		c.deps.Letters.MarkDelivered(bad)
		if c.deps.Letters.Empty() {
			c.lettersHealth.produce.observe(nil)
		}
	}
}

// refillLetters does for dead letters what refill does for events. bad may also say that something
// was left out because no topic accepts it: everything behind it would wait forever.
func (c *Collector) refillLetters(stopping, cut context.Context, entries []spool.Entry) (bad, err error) {
	var left []stream.Record
	for _, e := range entries {
		t, err := parseParcel(e.Payload)
		bad = cmp.Or(bad, err)
		left = append(left, t.dead...)
	}
	backoff := jitter.Backoff{Min: firstPause, Max: longestPause}
	for {
		ctx, cancel := tryContext(stopping, cut, lettersTimeout)
		var tooLarge error
		left, tooLarge, err = c.produceLetters(ctx, left)
		cancel()
		bad = cmp.Or(bad, tooLarge)
		if err == nil {
			return bad, nil
		}
		c.lettersHealth.produce.observe(err)
		if stopping.Err() != nil {
			return bad, err
		}
		_ = backoff.Wait(stopping)
	}
}
