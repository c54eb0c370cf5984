package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// partitionedTopic is a topic that has a limit for its records, and some of whose keys are in a
// partition without a leader.
type partitionedTopic struct {
	to   *memoryTopic
	most int // bytes of a value; 0: any

	mu    sync.Mutex
	away  string // guarded by mu; the keys that are not accepted, separated by blanks
	hangs bool   // guarded by mu; Produce fails for them only when ctx ends
}

func (p *partitionedTopic) loseLeaders(keys string, hangs bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away, p.hangs = keys, hangs
}

func (p *partitionedTopic) Produce(ctx context.Context, records ...stream.Record) error {
	p.mu.Lock()
	away, hangs := p.away, p.hangs
	p.mu.Unlock()
	u := &stream.Unwritten{}
	var taken []stream.Record
	for _, r := range records {
		switch {
		case p.most > 0 && len(r.Value) > p.most:
			u.TooLarge, u.Err = append(u.TooLarge, r), stream.ErrRecordTooLarge
		case slices.Contains(strings.Fields(away), string(r.Key)):
			u.Failed, u.Err = append(u.Failed, r), errAway
		default:
			taken = append(taken, r)
		}
	}
	if err := p.to.Produce(ctx, taken...); err != nil {
		return err
	}
	if len(u.Failed) > 0 && hangs {
		<-ctx.Done()
		u.Err = ctx.Err()
	}
	if u.Err == nil {
		return nil
	}
	return fmt.Errorf("produce: %w", u)
}

func newPartitionedFixture(t *testing.T, cfg Config, most int) (*spoolFixture, *partitionedTopic) {
	t.Helper()
	s := newSpoolFixture(t, cfg, t.TempDir(), 64<<20)
	p := &partitionedTopic{to: s.topic, most: most}
	s.deps.Producer, s.deps.Refill = p, p
	return s, p
}

// sendAs sends one event with a write key.
func (s *spoolFixture) sendAs(key, id string) int {
	r := post("/v1/track", text(fmt.Sprintf(`{"userId":"u","event":"e","messageId":%q}`, id)))
	r.SetBasicAuth(key, "")
	return s.do(r).Code
}

// TestEventsPartitionWithoutALeader: events of other partitions still reach Kafka, once, and do not
// go to the spool.
func TestEventsPartitionWithoutALeader(t *testing.T) {
	for hazard, hangs := range map[string]bool{"it_says_so": false, "it_hangs": true} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := newPartitionedFixture(t, Config{}, 0)
				defer s.close() // in the bubble
				end := s.unspool()
				p.loseLeaders("server", hangs)
				both := post("/v1/batch", text(`{"batch":[{"writeKey":"wk_server","messageId":"s0"},{"writeKey":"wk_web","messageId":"w0"},{"writeKey":"wk_server","messageId":"s1"}]}`))
				both.Header.Del("Authorization")
				require.Equal(t, http.StatusOK, s.do(both).Code)
				require.Equal(t, []string{"w0"}, ids(s.topic.take()))
				require.EqualValues(t, 2, s.spooledRecords(), "records that Kafka did not accept")
				time.Sleep(time.Hour) // synctest's clock; the events are tried again many times
				for i := range 5 {
					require.Equal(t, http.StatusOK, s.sendAs("wk_server", fmt.Sprint("s", i+2)))
					start := time.Now()
					require.Equal(t, http.StatusOK, s.sendAs("wk_web", fmt.Sprint("w", i+1)))
					require.Equal(t, start, time.Now())
					require.Equal(t, []string{fmt.Sprint("w", i+1)}, ids(s.topic.take()), "not written directly")
				}
				require.EqualValues(t, 7, s.spooledRecords())
				require.Equal(t, 1, strings.Count(s.logged.String(), "events cannot be produced; they go to the spool"), "logged more than once")
				require.NotContains(t, s.logged.String(), "events can be produced again", "one partition still fails")
				p.loseLeaders("", false)
				time.Sleep(time.Hour)
				synctest.Wait()
				require.Equal(t, strings.Fields("s0 s1 s2 s3 s4 s5 s6"), ids(s.topic.take()), "in order, once")
				require.True(t, s.spool.Empty())
				require.Equal(t, 1, strings.Count(s.logged.String(), "events can be produced again"))
				require.Equal(t, http.StatusOK, s.sendAs("wk_server", "direct"))
				require.Equal(t, []string{"direct"}, ids(s.topic.take()))
				require.Zero(t, s.inFlight.used.Load())
				end()
			})
		})
	}
}

// TestDeadLettersPartitionWithoutALeader: dead letters that Kafka does not accept keep no event
// from it, neither of the same requests nor behind them in the spool.
func TestDeadLettersPartitionWithoutALeader(t *testing.T) {
	for hazard, hangs := range map[string]bool{"it_says_so": false, "it_hangs": true} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := newPartitionedFixture(t, Config{Validate: true}, 0)
				defer s.close() // in the bubble
				letters := &partitionedTopic{to: s.dead}
				s.deps.DeadLetters = letters
				end := s.unspool()
				mixed := func(id string) { // an event and a letter of each source
					r := post("/v1/batch", text(strings.ReplaceAll(`{"batch":[
						{"writeKey":"wk_server","type":"page","userId":"u","messageId":"sID"},{"writeKey":"wk_server","type":"page","messageId":"dead sID"},
						{"writeKey":"wk_web","type":"page","userId":"u","messageId":"wID"},{"writeKey":"wk_web","type":"page","messageId":"dead wID"}]}`, "ID", id)))
					r.Header.Del("Authorization")
					require.Equal(t, http.StatusOK, s.do(r).Code)
				}
				letters.loseLeaders("server", hangs)
				mixed("0")
				for i := range 5 {
					start := time.Now()
					mixed(fmt.Sprint(i + 1))
					require.Equal(t, start, time.Now(), "waited again for a partition known to fail")
				}
				require.Equal(t, strings.Fields("s0 w0 s1 w1 s2 w2 s3 w3 s4 w4 s5 w5"), ids(s.topic.take()), "not written directly")
				require.Len(t, s.dead.take(), 6, "those of the other source")
				require.EqualValues(t, 6, s.spooledRecords())

				p.loseLeaders("server", hangs)
				require.Equal(t, http.StatusOK, s.sendAs("wk_server", "late"))
				mixed("6")
				require.Equal(t, []string{"w6"}, ids(s.topic.take()))
				p.loseLeaders("", false)
				time.Sleep(5 * time.Minute) // synctest's clock
				require.Equal(t, []string{"late", "s6"}, ids(s.topic.take()), "events behind letters")
				require.EqualValues(t, 7, s.spooledRecords())
				start := time.Now()
				require.Equal(t, http.StatusOK, s.sendAs("wk_server", "direct"))
				require.Equal(t, start, time.Now())
				require.Equal(t, []string{"direct"}, ids(s.topic.take()))

				require.Len(t, s.dead.take(), 1)
				letters.loseLeaders("", false)
				time.Sleep(5 * time.Minute)
				require.ElementsMatch(t, strings.Split("dead s0,dead s1,dead s2,dead s3,dead s4,dead s5,dead s6", ","), ids(s.dead.take()))
				require.Empty(t, s.topic.take(), "events were produced again")
				require.Zero(t, s.spooledRecords())
				require.Zero(t, s.inFlight.used.Load())
				end()
			})
		})
	}
}

// TestLettersOfAnotherPartitionAreRetried: when a partition of the dead letters has a leader
// again, its new letters are written directly, although letters in the spool are stuck behind those
// of a partition that still has none.
func TestLettersOfAnotherPartitionAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpoolFixture(t, Config{Validate: true}, t.TempDir(), 64<<20)
		defer s.close() // in the bubble
		letters := &partitionedTopic{to: s.dead}
		s.deps.DeadLetters = letters
		end := s.unspool()
		send := func(key, id string) (took time.Duration) {
			start := time.Now()
			r := post("/v1/page", text(fmt.Sprintf(`{"messageId":%q}`, id)))
			r.SetBasicAuth(key, "")
			require.Equal(t, http.StatusOK, s.do(r).Code)
			return time.Since(start)
		}
		letters.loseLeaders("server web", true)
		require.Equal(t, spoolAfter, send("wk_server", "s"))
		time.Sleep(time.Second) // synctest's clock; the letter is being tried
		require.Equal(t, spoolAfter, send("wk_web", "w0"))
		require.Zero(t, send("wk_web", "w1"), "waited again for a partition known to fail")
		time.Sleep(lettersTimeout)
		require.Equal(t, spoolAfter, send("wk_web", "w2"))
		require.Zero(t, send("wk_web", "w3"))

		letters.loseLeaders("server", true)
		time.Sleep(lettersTimeout)
		for _, id := range []string{"w4", "w5"} {
			require.Zero(t, send("wk_web", id))
			require.Equal(t, []string{id}, ids(s.dead.take()), "not written directly")
		}
		require.EqualValues(t, 5, s.letters.Stats().Records)
		letters.loseLeaders("", false)
		time.Sleep(time.Minute)
		require.ElementsMatch(t, strings.Fields("s w0 w1 w2 w3"), ids(s.dead.take()))
		require.Zero(t, s.spooledRecords())
		end()
	})
}

// TestSourcesOfOneRequestAreIndependent: if Kafka does not accept one source of a request, the
// others are not held up.
func TestSourcesOfOneRequestAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newPartitionedFixture(t, Config{}, 0)
		defer s.close() // in the bubble
		end := s.unspool()
		p.loseLeaders("server", true)
		require.Equal(t, http.StatusOK, s.sendAs("wk_server", "s0"))
		for i := range 3 {
			start := time.Now()
			both := post("/v1/batch", text(strings.ReplaceAll(`{"batch":[{"writeKey":"wk_server","messageId":"sID"},{"writeKey":"wk_web","messageId":"wID"}]}`, "ID", fmt.Sprint(i+1))))
			both.Header.Del("Authorization")
			require.Equal(t, http.StatusOK, s.do(both).Code)
			require.Equal(t, start, time.Now())
			require.Equal(t, []string{fmt.Sprint("w", i+1)}, ids(s.topic.take()))
			require.EqualValues(t, i+2, s.spooledRecords())
		}
		p.loseLeaders("", false)
		time.Sleep(5 * time.Minute) // synctest's clock
		require.Equal(t, strings.Fields("s0 s1 s2 s3"), ids(s.topic.take()))
		require.Zero(t, s.inFlight.used.Load())
		end()
	})
}

// TestPartialRefillWritesEventsOnce: events of many sources are in the spool, and when Kafka is
// back, one partition has no leader yet. The events of the others are written once.
func TestPartialRefillWritesEventsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newPartitionedFixture(t, Config{}, 0)
		defer s.close() // in the bubble
		s.topic.fail(errAway)
		for i := range 3 {
			require.Equal(t, http.StatusOK, s.sendAs("wk_server", fmt.Sprint("s", i)))
			require.Equal(t, http.StatusOK, s.sendAs("wk_web", fmt.Sprint("w", i)))
		}
		p.loseLeaders("server", false)
		s.topic.fail(nil)
		end := s.unspool()
		time.Sleep(time.Hour) // synctest's clock
		require.Equal(t, strings.Fields("w0 w1 w2"), ids(s.topic.take()), "once, although the other partition is retried")
		p.loseLeaders("", false)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, strings.Fields("s0 s1 s2"), ids(s.topic.take()))
		end()
	})
}

// TestUnreadSpoolHoldsBackEveryKey: until the entries found at the start are read, events of
// every key go behind them.
func TestUnreadSpoolHoldsBackEveryKey(t *testing.T) {
	dir := t.TempDir()
	s := newSpoolFixture(t, Config{}, dir, 64<<20)
	s.topic.fail(errAway)
	require.Equal(t, http.StatusOK, s.send("old"))
	s.close()

	next := newSpoolFixture(t, Config{}, dir, 64<<20)
	require.Equal(t, http.StatusOK, next.send("m0"))
	require.Empty(t, next.topic.take())
	end := next.unspool()
	require.Eventually(t, next.spool.Empty, 10*time.Second, time.Millisecond)
	end()
	require.Equal(t, []string{"old", "m0"}, ids(next.topic.take()))
	require.Equal(t, http.StatusOK, next.send("m1"))
	require.Equal(t, []string{"m1"}, ids(next.topic.take()))
}

// TestEventTooLargeForItsTopic: an event that is too large becomes a dead letter. Otherwise
// an SDK would send it forever after a 503, and what is behind it in the spool would wait forever.
func TestEventTooLargeForItsTopic(t *testing.T) {
	const large = 32_700 // with as much again of the batch's context it is longer than a cut letter
	body := `{"context":{"c":"` + strings.Repeat("c", large) + `"},"batch":[{"messageId":"m0","context":{"c":0}},{"messageId":"huge","p":"` + strings.Repeat("x", large) + `"},{"messageId":"m1","context":{"c":0}}]}`
	for hazard, c := range map[string]struct {
		letters int // the most bytes of a value that the dead letters' topic accepts
		spooled bool
		status  int
	}{
		"directly":                  {1 << 20, false, http.StatusOK},
		"from_the_spool":            {1 << 20, true, http.StatusOK},
		"cut_directly":              {64 << 10, false, http.StatusOK},
		"cut_from_the_spool":        {64 << 10, true, http.StatusOK},
		"even_cut_directly":         {1000, false, http.StatusServiceUnavailable},
		"even_cut_out_of_the_spool": {1000, true, http.StatusOK},
	} {
		t.Run(hazard, func(t *testing.T) {
			s, _ := newPartitionedFixture(t, Config{}, 2000)
			s.deps.DeadLetters = &partitionedTopic{to: s.dead, most: c.letters}
			if c.spooled {
				s.topic.fail(errAway)
			}
			require.Equal(t, c.status, s.do(post("/v1/batch", text(body))).Code)
			end := s.unspool()
			s.topic.fail(nil)
			require.Eventually(t, func() bool { return s.spooledRecords() == 0 }, 10*time.Second, time.Millisecond)
			end()
			require.Equal(t, []string{"m0", "m1"}, ids(s.topic.take()))
			require.Zero(t, s.inFlight.used.Load())
			require.InDelta(t, 1, s.metric(t, "sealift_collector_dead_letters_total", "reason", deadletter.LeftTooLarge), 0)
			dead := s.dead.take()
			if c.letters == 1000 {
				require.Empty(t, dead)
				kept, err := filepath.Glob(filepath.Join(s.dir, "letters", "damaged", "*.spool"))
				require.NoError(t, err)
				require.Equal(t, c.spooled, len(kept) == 1, "the letter is not among the damaged ones")
				return
			}
			require.Equal(t, []string{"huge"}, ids(dead))
			reason, _ := dead[0].Header(deadletter.HeaderReason)
			require.Equal(t, deadletter.LeftTooLarge, string(reason))
			received, _ := dead[0].Header(route.HeaderReceived)
			require.Equal(t, strconv.FormatInt(dead[0].Time.UnixMilli(), 10), string(received))
			require.Equal(t, "web", string(dead[0].Key))
			cut, isCut := dead[0].Header(deadletter.HeaderCut)
			require.Equal(t, c.letters == 64<<10, isCut)
			if isCut {
				size, err := strconv.Atoi(string(cut))
				require.NoError(t, err)
				require.Greater(t, size, len(dead[0].Value))
				require.Len(t, dead[0].Value, 64<<10)
			} else {
				require.True(t, json.Valid(dead[0].Value))
			}
		})
	}
}

// TestWaitingLettersDelayNoEvents: dead letters that Kafka does not accept, eight chunks of them,
// hold up no event, even if they are found at the start, before an event, in a spool of an earlier
// release, which kept both in one.
func TestWaitingLettersDelayNoEvents(t *testing.T) {
	for hazard, c := range map[string]struct {
		hangs bool
		after time.Duration // until the process is stopped
	}{
		"they_are_refused":           {false, time.Hour},
		"they_hang":                  {true, time.Hour},
		"they_are_refused_at_a_stop": {false, 0},
		"they_hang_at_a_stop":        {true, 0},
	} {
		t.Run(hazard, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := newSpoolFixture(t, Config{}, dir, 64<<20)
				for range 4 {
					letters := make([]stream.Record, 30)
					for i := range letters {
						letters[i] = stream.Record{Key: []byte("server"), Value: make([]byte, 30_000)}
					}
					require.NoError(t, s.spoolParcel(parcel{dead: letters}, time.Now()))
					require.NoError(t, appendToSpool(s.spool, parcel{dead: letters}, time.Now()))
				}
				require.NoError(t, appendToSpool(s.spool, parcel{records: []stream.Record{{Key: []byte("web"), Value: []byte("{}")}}}, time.Now()))
				s.close()

				s = newSpoolFixture(t, Config{}, dir, 64<<20)
				defer s.close() // in the bubble
				letters := &countingTopic{partitionedTopic: partitionedTopic{to: s.dead}}
				letters.loseLeaders("server", c.hangs)
				s.deps.DeadLetters = letters
				end := s.unspool()
				time.Sleep(min(c.after, 10*time.Second)) // synctest's clock
				if c.after == 0 {
					end()
				}
				require.Len(t, s.topic.take(), 1, "the event waited for the letters")
				require.True(t, s.spool.Empty())
				require.EqualValues(t, 240, s.letters.Stats().Records)
				if c.after == 0 {
					return
				}
				require.Equal(t, http.StatusOK, s.send("direct"))
				require.Len(t, s.topic.take(), 1, "not written directly")
				files, err := filepath.Glob(filepath.Join(dir, "letters", "*.spool"))
				require.NoError(t, err)
				bytes := s.letters.Stats().Bytes
				time.Sleep(c.after)
				require.Less(t, letters.calls.Load(), int64(1000), "letters are retried without a pause")
				still, err := filepath.Glob(filepath.Join(dir, "letters", "*.spool"))
				require.NoError(t, err)
				require.Equal(t, files, still, "letters were written to disk again")
				require.Equal(t, bytes, s.letters.Stats().Bytes)
				letters.loseLeaders("", false)
				time.Sleep(5 * time.Minute)
				require.Len(t, s.dead.take(), 240)
				require.Zero(t, s.spooledRecords())
				end()
			})
		})
	}
}

// TestFullLettersSpool: when the dead letters' spool is full, requests with any are answered
// 503 and events are accepted. An event from the spool that turns out too large waits for room, and
// so does what is behind it.
func TestFullLettersSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newPartitionedFixture(t, Config{}, 50_000)
		defer s.close() // in the bubble
		s.deps.Ping = func(context.Context) error { return nil }
		s.dead.fail(errAway)
		letters := 0
		for _, size := range []int{100_000, 1000} {
			for ; s.spoolParcel(parcel{dead: []stream.Record{{Key: []byte("web"), Value: make([]byte, size)}}}, time.Now()) == nil; letters++ {
				require.Less(t, letters, 1000)
			}
		}
		require.Greater(t, letters, 80)
		one := `{"batch":[{"messageId":"m"},{"messageId":"large","p":"` + strings.Repeat("x", 60_000) + `"}]}`
		w := s.do(post("/v1/batch", text(one)))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Contains(t, w.Body.String(), "spool_full")
		require.Equal(t, http.StatusOK, s.send("event"))
		require.NoError(t, s.Ready(t.Context()), "events are still accepted")
		s.topic.take()

		p.loseLeaders("web", false)
		require.Equal(t, http.StatusOK, s.send("first"))
		large := stream.Record{Key: []byte("web"), Value: make([]byte, 60_000), Time: time.Now()}
		require.NoError(t, s.spoolParcel(parcel{records: []stream.Record{large}}, time.Now()))
		p.loseLeaders("", false)
		end := s.unspool()
		time.Sleep(time.Hour) // synctest's clock
		require.Equal(t, []string{"first"}, ids(s.topic.take()))
		require.False(t, s.spool.Empty())
		s.dead.fail(nil)
		time.Sleep(time.Minute)
		require.Zero(t, s.spooledRecords())
		require.Len(t, s.dead.take(), letters+1)
		require.Zero(t, s.inFlight.used.Load())
		end()
	})
}

// TestFullSpoolOfOnePartition: a partition without a leader fills the spool of every collector. If
// they all called themselves not ready for that, no source could send any more.
func TestFullSpoolOfOnePartition(t *testing.T) {
	s, p := newPartitionedFixture(t, Config{}, 0)
	var away error
	s.deps.Ping = func(context.Context) error { return away }
	p.loseLeaders("server", false)
	for _, size := range []int{1 << 20, 1000} {
		for s.spoolParcel(parcel{records: []stream.Record{{Key: []byte("server"), Value: make([]byte, size)}}}, time.Now()) == nil {
		}
	}
	for s.sendAs("wk_server", "m") == http.StatusOK {
	}
	require.Equal(t, http.StatusOK, s.sendAs("wk_web", "m"))
	require.NoError(t, s.Ready(t.Context()))
	away = errAway
	require.ErrorContains(t, s.Ready(t.Context()), "collector.spool.max_bytes")
}

// TestFullEventsSpoolStoresLettersOnce: if the events' spool is full, retries of a request do not
// store its dead letters again and again.
func TestFullEventsSpoolStoresLettersOnce(t *testing.T) {
	s := newSpoolFixture(t, Config{Validate: true}, t.TempDir(), 200<<10)
	s.topic.fail(errAway)
	s.dead.fail(errAway)
	batch := func(event, dead string, size int) int { // of one event and one letter, each left out if ""
		var parts []string
		for _, members := range []string{event, dead} {
			if members != "" {
				parts = append(parts, `{"type":"page",`+members+`"p":"`+strings.Repeat("x", size)+`"}`)
			}
		}
		return s.do(post("/v1/batch", text(`{"batch":[`+strings.Join(parts, ",")+`]}`))).Code
	}
	const event, dead = `"userId":"u",`, ` `
	require.Equal(t, http.StatusOK, batch(event, dead, 100), "both have room")
	require.EqualValues(t, 1, s.letters.Stats().Records)
	for _, size := range []int{10_000, 1000} { // there is no room for a large one before the spool counts as full
		for batch(event, "", size) == http.StatusOK {
		}
		for range 100 {
			require.Equal(t, http.StatusServiceUnavailable, batch(event, dead, size))
		}
		require.EqualValues(t, 1, s.letters.Stats().Records)
	}
	require.Equal(t, http.StatusOK, batch("", dead, 100), "letters have room")
	require.Contains(t, s.logged.String(), "the spool does not take events")
	require.Zero(t, s.inFlight.used.Load())
}

// TestSlowDeadLettersTopicEmptiesTheSpool: although a try that is given up may still be
// written, letters get out of the spool, each written once.
func TestSlowDeadLettersTopicEmptiesTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpoolFixture(t, Config{}, t.TempDir(), 64<<20)
		defer s.close() // in the bubble
		s.deps.DeadLetters = slowTopic{s.dead, 7 * time.Second}
		require.NoError(t, s.spoolParcel(parcel{dead: []stream.Record{{Key: []byte("web"), Value: []byte("{}")}}}, time.Now()))
		end := s.unspool()
		time.Sleep(time.Hour) // synctest's clock
		require.True(t, s.letters.Empty())
		require.Len(t, s.dead.take(), 1)
		end()
	})
}

// countingTopic counts the calls of a topic.
type countingTopic struct {
	partitionedTopic
	calls atomic.Int64
}

func (c *countingTopic) Produce(ctx context.Context, records ...stream.Record) error {
	c.calls.Add(1)
	return c.partitionedTopic.Produce(ctx, records...)
}

// slowTopic is a topic that writes what it was given, even if the caller has given up.
type slowTopic struct {
	to   *memoryTopic
	time time.Duration
}

func (s slowTopic) Produce(ctx context.Context, records ...stream.Record) error {
	done := make(chan error, 1)
	go func() {
		time.Sleep(s.time)
		done <- s.to.Produce(context.WithoutCancel(ctx), records...)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestCancelledRequestUsesNoLetterTry: a request that ends before its letters are tried does not
// use up the next try.
func TestCancelledRequestUsesNoLetterTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h stuckKeys
		letters := []stream.Record{{Key: []byte("web")}}
		h.recordResult(letters, letters)
		_, later := h.split(letters)
		require.Len(t, later, 1)
		time.Sleep(lettersTimeout)
		for range 2 {
			now, _ := h.split(letters)
			require.Len(t, now, 1)
		}
		h.recordTry(letters)
		_, later = h.split(letters)
		require.Len(t, later, 1, "a second request waits as well")
	})
}
