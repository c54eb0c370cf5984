package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/spool"
	"github.com/sealift/sealift/pkg/stream"
)

// spoolFixture is a fixture with a spool in dir; unspool starts to empty it.
type spoolFixture struct {
	*fixture
	dir     string
	spool   *spool.Spool // of events
	letters *spool.Spool
	unspool func() (end func())
}

func newSpoolFixture(t *testing.T, cfg Config, dir string, maxBytes int64) *spoolFixture {
	t.Helper()
	logged := &logtest.Buffer{}
	s := &spoolFixture{dir: dir}
	var err error
	s.spool, s.letters, err = OpenSpools(dir, maxBytes, logTo(logged))
	require.NoError(t, err)
	t.Cleanup(s.close)
	s.fixture = newFixture(t, cfg, func(d *Deps) {
		d.Spool, d.Letters, d.Refill, d.Log = s.spool, s.letters, d.Producer, logTo(logged)
	})
	s.logged = logged
	s.unspool = func() func() { return s.startUnspooling(t.Context()) }
	return s
}

// close has to be called inside the synctest bubble, before its end.
func (s *spoolFixture) close() {
	require.NoError(s.t, errors.Join(s.spool.Close(), s.letters.Close()))
}

// spooledRecords returns how many records the two spools hold.
func (s *spoolFixture) spooledRecords() int64 {
	return s.spool.Stats().Records + s.letters.Stats().Records
}

func (s *spoolFixture) send(id string) int {
	return s.do(post("/v1/track", text(fmt.Sprintf(`{"userId":"u","event":"e","messageId":%q}`, id)))).Code
}

// ids returns the messageIds of records.
func ids(records []stream.Record) (all []string) {
	for i := range records {
		id, _ := records[i].Header("sealift-message")
		all = append(all, string(id))
	}
	return all
}

// TestWrittenLettersAreNotSpooled: if Kafka accepts a request's dead letters but not its
// events, only the events go to the spool.
func TestWrittenLettersAreNotSpooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpoolFixture(t, Config{Validate: true}, t.TempDir(), 64<<20)
		defer s.close() // in the bubble
		s.topic.fail(errAway)
		end := s.unspool()
		require.Equal(t, http.StatusOK, s.do(post("/v1/batch", text(`{"batch":[{"type":"track","userId":"u"},{"type":"page","userId":"u","messageId":"m"}]}`))).Code)
		s.topic.fail(nil)
		time.Sleep(time.Hour) // synctest's clock
		require.Equal(t, []string{"m"}, ids(s.topic.take()))
		require.Len(t, s.dead.take(), 1)
		end()
	})
}

func TestEventsAreSpooledWhileKafkaIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpoolFixture(t, Config{Validate: true}, t.TempDir(), 64<<20)
		defer s.close() // in the bubble
		require.Equal(t, http.StatusOK, s.send("direct"))
		require.Equal(t, []string{"direct"}, ids(s.topic.take()))

		s.topic.fail(errAway)
		s.dead.fail(errAway)
		end := s.unspool()
		start := time.Now()
		for i := range 10 {
			require.Equal(t, http.StatusOK, s.send(fmt.Sprint("m", i)))
		}
		require.Equal(t, http.StatusOK, s.do(post("/v1/track", text(`{"userId":"u"}`))).Code)
		require.Equal(t, start, time.Now(), "the request waited for Kafka")
		require.Empty(t, s.topic.take())
		time.Sleep(time.Hour) // synctest's clock
		require.InDelta(t, 11, s.metric(t, "sealift_collector_spool_records"), 0)
		require.EqualValues(t, 64<<20, s.metric(t, "sealift_collector_spool_max_bytes"))
		for of, records := range map[string]float64{"events": 10, "dead_letters": 1} { // each spool may be full by itself
			require.InDelta(t, records, s.metric(t, "sealift_collector_spool_records", "of", of), 0)
			require.InDelta(t, 3600, s.metric(t, "sealift_collector_spool_oldest_age_seconds", "of", of), 1)
			require.Positive(t, s.metric(t, "sealift_collector_spool_bytes", "of", of))
			require.Greater(t, s.metric(t, "sealift_collector_spool_max_bytes", "of", of), s.metric(t, "sealift_collector_spool_bytes", "of", of))
		}
		require.Equal(t, 1, strings.Count(s.logged.String(), "level=ERROR msg=\"events cannot"), "an outage is logged once")

		s.dead.fail(nil)
		s.topic.fail(nil)
		time.Sleep(longestPause)
		synctest.Wait()
		require.Equal(t, strings.Fields("m0 m1 m2 m3 m4 m5 m6 m7 m8 m9"), ids(s.topic.take()), "in order, once")
		dead := s.dead.take()
		require.Len(t, dead, 1)
		reason, _ := dead[0].Header("sealift-reason")
		require.Equal(t, "no_event_name", string(reason))
		require.Zero(t, s.metric(t, "sealift_collector_spool_records"))
		require.Zero(t, s.metric(t, "sealift_collector_spool_bytes"))
		require.Zero(t, s.metric(t, "sealift_collector_spool_oldest_age_seconds"))
		require.Zero(t, s.inFlight.used.Load())

		require.Equal(t, http.StatusOK, s.send("direct again"))
		require.Equal(t, []string{"direct again"}, ids(s.topic.take()))
		end()
	})
}

// TestOnlyFirstRequestsWaitForKafka: only the first requests of a source wait for Kafka, further
// ones go to the spool at once, and nothing is produced twice.
func TestOnlyFirstRequestsWaitForKafka(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpoolFixture(t, Config{}, t.TempDir(), 64<<20)
		defer s.close()
		release := s.topic.stall()
		start := time.Now()
		require.Equal(t, http.StatusOK, s.send("first"))
		require.Equal(t, 2*time.Second, time.Since(start))
		require.Equal(t, http.StatusOK, s.send("second"))
		require.Equal(t, 2*time.Second, time.Since(start))
		release()
		end := s.unspool()
		synctest.Wait()
		end()
		require.Equal(t, []string{"first", "second"}, ids(s.topic.take()))
	})
}

// TestEventsOfADisconnectedClientAreStored: what a disconnected client had sent is stored, because
// a page that was left never sends its beacons again.
func TestEventsOfADisconnectedClientAreStored(t *testing.T) {
	pixel := httptest.NewRequest(http.MethodGet, "/v1/pixel/track?writeKey=wk_web&event=e&messageId=m", nil)
	for hazard, c := range map[string]struct {
		r      *http.Request
		behind bool // these events are already in the spool
		want   []string
	}{
		"a_beacon":               {post("/v1/track", text(`{"messageId":"m"}`)), false, []string{"m"}},
		"a_pixel":                {pixel, false, []string{"m"}},
		"a_beacon_behind_others": {post("/v1/batch", text(`{"batch":[{"writeKey":"wk_server","messageId":"m0"},{"writeKey":"wk_web","messageId":"m1"}]}`)), true, []string{"first", "m0", "m1"}},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpoolFixture(t, Config{}, t.TempDir(), 64<<20)
				defer s.close() // in the bubble
				s.topic.fail(errAway)
				if c.behind {
					require.Equal(t, http.StatusOK, s.sendAs("wk_server", "first"))
					c.r.Header.Del("Authorization")
				}
				release := s.topic.stall()
				ctx, leave := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, leave) // synctest's clock
				if c.behind {
					leave()
				}
				s.do(c.r.WithContext(ctx))
				<-s.gate.close()
				release()
				s.topic.fail(nil)
				end := s.unspool()
				synctest.Wait()
				end()
				require.ElementsMatch(t, c.want, ids(s.topic.take()))
				require.Zero(t, s.inFlight.used.Load())
			})
		})
	}
}

// flaky is a producer that fails for a while now and then; what it failed for may have been written
// all the same.
type flaky struct {
	to  *memoryTopic
	mu  sync.Mutex
	rng *rand.Rand // guarded by mu
	bad int        // guarded by mu; how many more calls fail
}

func (f *flaky) Produce(ctx context.Context, records ...stream.Record) error {
	f.mu.Lock()
	if f.bad == 0 && f.rng.IntN(50) == 0 {
		f.bad = 1 + f.rng.IntN(5)
	}
	fails, writes := f.bad > 0, f.rng.IntN(3) == 0
	if fails {
		f.bad--
	}
	f.mu.Unlock()
	if fails && !writes {
		return errAway
	}
	if err := f.to.Produce(ctx, records...); err != nil || !fails {
		return err
	}
	return errAway
}

// TestOrderWithinAKeyIsKept: clients send one event after another while Kafka comes and goes.
// Duplicates aside, each client's events are all there, in the order in which they were
// acknowledged.
func TestOrderWithinAKeyIsKept(t *testing.T) {
	const clients, each = 8, 200
	s := newSpoolFixture(t, Config{}, t.TempDir(), 64<<20)
	breaks := &flaky{to: s.topic, rng: rand.New(rand.NewPCG(6, 7))}
	s.deps.Producer, s.deps.Refill = breaks, breaks
	end := s.unspool()
	var sending sync.WaitGroup
	for c := range clients {
		sending.Go(func() {
			for i := range each {
				if code := s.send(fmt.Sprint(c, " ", i)); code != http.StatusOK {
					t.Errorf("status %d", code)
				}
			}
		})
	}
	sending.Wait()
	require.Eventually(t, s.spool.Empty, 30*time.Second, time.Millisecond)
	end()
	next, seen, copies := make([]int, clients), map[string]bool{}, 0
	for _, id := range ids(s.topic.take()) {
		if seen[id] {
			copies++
			continue
		}
		seen[id] = true
		var c, i int
		_, err := fmt.Sscan(id, &c, &i)
		require.NoError(t, err)
		require.Equal(t, next[c], i)
		next[c]++
	}
	require.Len(t, seen, clients*each)
	require.Positive(t, copies)
	t.Logf("%d copies of %d", copies, clients*each)
}

func TestFullSpoolAnswers503(t *testing.T) {
	s := newSpoolFixture(t, Config{}, t.TempDir(), 200<<10)
	s.deps.Ping = func(context.Context) error { return errAway }
	s.topic.fail(errAway)
	require.NoError(t, s.Ready(t.Context()), "without Kafka")
	accepted := 0
	for ; ; accepted++ {
		w := s.do(post("/v1/track", text(`{"a":"`+strings.Repeat("x", 10<<10)+`"}`)))
		if w.Code != http.StatusOK {
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			require.Contains(t, w.Body.String(), "spool_full")
			require.NotEmpty(t, w.Header().Get("Retry-After"))
			break
		}
	}
	require.Greater(t, accepted, 10)
	for s.send("small") == http.StatusOK {
		accepted++
	}
	require.ErrorContains(t, s.Ready(t.Context()), "collector.spool.max_bytes")
	require.Zero(t, s.inFlight.used.Load())
	s.topic.fail(nil)
	end := s.unspool()
	require.Eventually(t, s.spool.Empty, 10*time.Second, time.Millisecond)
	end()
	require.Len(t, s.topic.take(), accepted, "a refused event was stored")
	require.Equal(t, http.StatusOK, s.send("again"))
}

func TestFailingDiskAnswers503(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := newSpoolFixture(t, Config{}, dir, 64<<20)
	s.topic.fail(errAway)
	require.NoError(t, os.RemoveAll(dir))
	w := s.do(post("/v1/track", text(`{}`)))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Contains(t, s.logged.String(), "no such file or directory")
	s.topic.fail(nil)
	require.Equal(t, http.StatusOK, s.send("direct"), "a broken spool blocks events that Kafka accepts")
}

// TestFailingDiskIsNotReadyWithoutKafka: without disk and Kafka the collector is not ready,
// until one of them works again, which it notices although nobody sends to it.
func TestFailingDiskIsNotReadyWithoutKafka(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := newSpoolFixture(t, Config{}, dir, 64<<20)
	away := errAway
	s.deps.Ping = func(context.Context) error { return away }
	s.topic.fail(errAway)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, s.Ready(t.Context()), "the failure is not known yet")
	require.Equal(t, http.StatusServiceUnavailable, s.send("m"))
	for range 2 {
		require.ErrorContains(t, s.Ready(t.Context()), "no such file or directory")
	}
	away = nil
	require.NoError(t, s.Ready(t.Context()), "events bypass the spool")
	away = errAway
	require.Error(t, s.Ready(t.Context()))

	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, s.Ready(t.Context()))
	require.Contains(t, s.logged.String(), "the spool works again")
	require.Equal(t, http.StatusOK, s.send("m"))
	s.topic.fail(nil)
	end := s.unspool()
	require.Eventually(t, s.spool.Empty, 10*time.Second, time.Millisecond)
	end()
	require.Equal(t, []string{"m"}, ids(s.topic.take()), "the empty parcel of the check left a record")
	require.Zero(t, s.inFlight.used.Load())
}

// TestUnreadableSegment: what is behind it waits for some tries. That the spool still
// accepts events meanwhile does not hide the failure, and is not logged as a recovery.
func TestUnreadableSegment(t *testing.T) {
	for hazard, mends := range map[string]bool{"it_is_gone": false, "it_cannot_be_opened_for_a_while": true} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				s := newSpoolFixture(t, Config{}, dir, 64<<20)
				defer s.close()
				s.deps.Ping = func(context.Context) error { return nil }
				s.topic.fail(errAway)
				require.Equal(t, http.StatusOK, s.send("m0"))
				paths, err := filepath.Glob(filepath.Join(dir, "*.spool"))
				require.NoError(t, err)
				require.Len(t, paths, 1)
				require.NoError(t, os.Rename(paths[0], paths[0]+"x"))
				if mends {
					require.NoError(t, os.Symlink(paths[0], paths[0]))
				}
				s.topic.fail(nil)
				end := s.unspool()
				for i := range 3 {
					time.Sleep(longestPause) // synctest's clock
					require.Equal(t, http.StatusOK, s.send(fmt.Sprint("m", i+1)), "the spool still accepts events")
					require.NoError(t, s.Ready(t.Context()))
				}
				require.Empty(t, s.topic.take())
				require.Equal(t, 1, strings.Count(s.logged.String(), "events in the spool cannot be read"), s.logged)
				require.NotContains(t, s.logged.String(), "again")
				if mends {
					require.NoError(t, os.Rename(paths[0]+"x", paths[0]))
				}
				time.Sleep(20 * longestPause)
				synctest.Wait()
				require.True(t, s.spool.Empty())
				require.Equal(t, http.StatusOK, s.send("m4"))
				if mends {
					require.Equal(t, strings.Fields("m0 m1 m2 m3 m4"), ids(s.topic.take()))
					require.Zero(t, s.metric(t, "sealift_collector_spool_damages_total"))
					require.Contains(t, s.logged.String(), "events in the spool can be read again")
				} else {
					require.Equal(t, strings.Fields("m4"), ids(s.topic.take()), "all were in one segment")
					require.InDelta(t, 1, s.metric(t, "sealift_collector_spool_damages_total"), 0)
				}
				end()
			})
		})
	}
}

// TestLargestRequestFitsTheLeastBound: with the least max_in_flight that pkg/config accepts, every
// request is accepted when nothing else is in flight. Otherwise its sender would send it forever.
func TestLargestRequestFitsTheLeastBound(t *testing.T) {
	s := newSpoolFixture(t, Config{MaxInFlight: 64 << 20}, t.TempDir(), 64<<20)
	largest := func() io.Reader {
		return text(`{"context":{"c":"` + strings.Repeat("c", 6100) + `"},"batch":[` + strings.Repeat(`{},`, 2499) + `{}]}`)
	}
	require.Equal(t, http.StatusOK, s.do(post("/v1/batch", largest())).Code)
	s.topic.fail(errAway)
	require.Equal(t, http.StatusOK, s.do(post("/v1/batch", largest())).Code)
	require.EqualValues(t, 2500, s.spool.Stats().Records)
	require.Greater(t, s.spool.Stats().Bytes, int64(15<<20))
}

func TestSpooledBytesAreBounded(t *testing.T) {
	s := newSpoolFixture(t, Config{MaxInFlight: 1 << 20}, t.TempDir(), 64<<20)
	s.topic.fail(errAway)
	statuses := map[int]int{}
	var mu sync.Mutex
	var sending sync.WaitGroup
	for range 100 {
		sending.Go(func() {
			w := s.do(post("/v1/batch", text(`{"batch":[`+strings.Repeat(`{"p":"`+strings.Repeat("x", 10<<10)+`"},`, 30)+`{}]}`)))
			mu.Lock()
			defer mu.Unlock()
			statuses[w.Code]++
		})
	}
	sending.Wait()
	require.Equal(t, 100, statuses[http.StatusOK]+statuses[http.StatusServiceUnavailable], "%v", statuses)
	require.Zero(t, s.inFlight.used.Load())
	require.EqualValues(t, statuses[http.StatusOK]*31, s.spool.Stats().Records)
}

// TestSpoolAtShutdown: at a stop the spool is emptied if Kafka accepts its events; otherwise it
// stays for the next start.
func TestSpoolAtShutdown(t *testing.T) {
	for hazard, away := range map[string]error{"kafka_is_there": nil, "kafka_is_away": errAway} {
		t.Run(hazard, func(t *testing.T) {
			dir := t.TempDir()
			s := newSpoolFixture(t, Config{Listen: "127.0.0.1:0"}, dir, 64<<20)
			s.topic.fail(errAway)
			for i := range 3 {
				require.Equal(t, http.StatusOK, s.send(fmt.Sprint("m", i)))
			}
			_, stop := startServing(t, s.fixture)
			s.topic.fail(away)
			require.NoError(t, stop())
			require.Equal(t, away == nil, s.spool.Empty())
			require.Equal(t, http.StatusServiceUnavailable, s.send("late"), "a request was accepted after shutdown")

			next := newSpoolFixture(t, Config{}, dir, 64<<20)
			require.Equal(t, http.StatusOK, next.send("m3"))
			end := next.unspool()
			require.Eventually(t, next.spool.Empty, 10*time.Second, time.Millisecond)
			end()
			require.Equal(t, []string{"m0", "m1", "m2", "m3"}, append(ids(s.topic.take()), ids(next.topic.take())...))
		})
	}
}

// TestShutdownWaitsForOneTry: while Kafka is away, a stop takes no longer than one more try.
func TestShutdownWaitsForOneTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpoolFixture(t, Config{}, t.TempDir(), 64<<20)
		defer s.close() // in the bubble
		defer s.topic.stall()()
		end := s.unspool()
		require.Equal(t, http.StatusOK, s.send("m"))
		synctest.Wait() // the event is being tried again
		start := time.Now()
		end()
		require.Equal(t, spoolAfter, time.Since(start))
		require.EqualValues(t, 1, s.spool.Stats().Records)
	})
}

// TestParcelsOfALaterRelease: a collector that cannot read them does not start, and the later release
// finds all of them again.
func TestParcelsOfALaterRelease(t *testing.T) {
	for name, pick := range map[string]func(s *spoolFixture) *spool.Spool{
		"events":       func(s *spoolFixture) *spool.Spool { return s.spool },
		"dead_letters": func(s *spoolFixture) *spool.Spool { return s.letters },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newSpoolFixture(t, Config{}, dir, 64<<20)
			require.NoError(t, pick(s).Append(spool.Entry{Records: 1, Payload: appendParcel(nil, parcel{})}))
			later := appendParcel(nil, parcel{})
			later[0]++
			require.NoError(t, pick(s).Append(spool.Entry{Records: 1, Payload: later}))
			require.NoError(t, errors.Join(s.spool.Close(), s.letters.Close()))
			for range 2 {
				_, _, err := OpenSpools(dir, 64<<20, logTo(s.logged))
				require.ErrorContains(t, err, "a later release wrote")
			}
			kept, err := spool.Open(spool.Config{Dir: filepath.Join(dir, map[string]string{"dead_letters": "letters"}[name]), MaxBytes: 64 << 20}, logTo(s.logged))
			require.NoError(t, err)
			require.EqualValues(t, 2, kept.Stats().Records)
			require.NoError(t, kept.Close())
		})
	}
}

func TestParcelThatIsNoneIsSetAside(t *testing.T) {
	dir := t.TempDir()
	s := newSpoolFixture(t, Config{}, dir, 64<<20)
	require.NoError(t, s.spool.Append(spool.Entry{Records: 1, Payload: []byte{parcelVersion}}))
	require.Equal(t, http.StatusOK, s.send("m"))
	end := s.unspool()
	require.Eventually(t, s.spool.Empty, 10*time.Second, time.Millisecond)
	end()
	require.Equal(t, []string{"m"}, ids(s.topic.take()))
	kept, err := filepath.Glob(filepath.Join(dir, "damaged", "*.spool"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.Contains(t, s.logged.String(), kept[0][len(kept[0])-len("00000000000000000000.spool"):])
	require.InDelta(t, 1, s.metric(t, "sealift_collector_spool_damages_total"), 0)
}

// TestRefillChunksFitOneBatch: a chunk fits into one batch per partition.
func TestRefillChunksFitOneBatch(t *testing.T) {
	for hazard, records := range map[string][]stream.Record{
		"many":  make([]stream.Record, 25_000),
		"large": {{Value: make([]byte, 600_000)}, {Value: make([]byte, 600_000)}, {Value: make([]byte, 2<<20)}, {Value: make([]byte, 1)}},
	} {
		t.Run(hazard, func(t *testing.T) {
			calls, total := 0, 0
			for rest := records; len(rest) > 0; calls++ {
				n := chunkLen(rest)
				size := int64(0)
				for i := range rest[:n] {
					size += recordBytes(&rest[i])
				}
				require.LessOrEqual(t, n, chunkRecords)
				require.True(t, n == 1 || size <= chunkBytes)
				total += n
				rest = rest[n:]
			}
			require.Equal(t, len(records), total)
			require.Equal(t, map[string]int{"many": 3, "large": 4}[hazard], calls)
		})
	}
}

func TestASpoolNeedsItsOwnProducer(t *testing.T) {
	s := newSpoolFixture(t, Config{}, t.TempDir(), 1<<20)
	deps := s.deps
	deps.Refill = nil
	_, err := New(Config{}, deps)
	require.Error(t, err)
}
