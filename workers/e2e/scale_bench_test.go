package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"math"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	scaleSources = flag.Int("scale.sources", 100_000, "sources, each with an open file")
	scaleEvents  = flag.Int64("scale.events", 1_000_000, "events in Kafka when the appender starts")
	scaleRate    = flag.Float64("scale.rate", 2_000, "events per second during the turn of the hour")
	scaleRoll    = flag.Duration("scale.roll", 10*time.Minute, "appender.roll_every; seals are spread over a twentieth of it")
	scaleFor     = flag.Duration("scale.for", 20*time.Second, "how long the overload lasts")
	scaleMemory  = flag.String("scale.memory", "512MiB", "appender.memory")
	scaleLabel   = flag.String("scale.label", "", "label of the run in its results")
	scaleCommit  = flag.String("scale.commit", "", "commit of the binary that SEALIFT_BIN names")
	scaleOut     = flag.String("scale.out", "", "file to which results are appended, one line of JSON each")
)

// BenchmarkOpenStreams runs one appender with as many open streams as there are sources: first on a
// full topic, as fast as it can, then at a steady rate beyond an hour's turn at which all streams
// are sealed. It reports memory and file handles, how consumer lag recovers after the turn, and the
// entries and requests that the turn caused.
//
//	scripts/bench-scale.sh streams
func BenchmarkOpenStreams(b *testing.B) {
	for b.Loop() {
		r := newScaleRig(b, *scaleSources)
		for { // everything has to be read within one period
			since := time.Since(time.Now().Truncate(*scaleRoll))
			if since < *scaleRoll/2 {
				break
			}
			time.Sleep(min(time.Second, *scaleRoll-since))
		}
		turn := time.Now().Truncate(*scaleRoll).Add(*scaleRoll)
		r.produce(b.Context(), *scaleEvents, 0)
		r.start("memory: " + *scaleMemory + ", roll_every: " + scaleRoll.String())
		began := time.Now()
		drain := r.watch("records read", 10*time.Minute, func(m moment) bool { return m.read >= float64(*scaleEvents) })
		last := drain[len(drain)-1]
		require.True(b, time.Now().Before(turn.Add(-20*time.Second)), "the topic was read too late before the turn: use a longer -scale.roll")
		figures := map[string]any{
			"label": *scaleLabel, "sources": *scaleSources, "events": *scaleEvents, "memory": *scaleMemory, "roll": scaleRoll.String(), "rate": *scaleRate,
			"drain_events_per_s": last.read / last.at.Sub(began).Seconds(), "drain_cpu_us_per_event": float64(last.cpu.Microseconds()) / last.read,
			"drain_peak_rss_MB": float64(peakRSS(drain)) / 1e6, "open_files": last.values["sealift_appender_open_files"],
			"heap_alloc_MB": last.values["go_memstats_heap_alloc_bytes"] / 1e6, "next_gc_MB": last.values["go_memstats_next_gc_bytes"] / 1e6,
		}
		before := r.setDelay(0)
		ctx, cancel := context.WithCancel(b.Context())
		produced := make(chan struct{})
		go func() { defer close(produced); r.produce(ctx, math.MaxInt64, *scaleRate) }()
		steady := r.watch("the turn", *scaleRoll, func(m moment) bool { return m.at.After(turn) })
		base, all := 0.0, last.values["sealift_appender_open_files"]
		for _, m := range steady[min(len(steady)-1, 20):] {
			base = max(base, m.lag())
		}
		files := steady[0].file
		turned := r.watch("all sealed", 20*time.Minute, func(m moment) bool { return m.file-files >= all && time.Since(turn) > 30*time.Second })
		cancel()
		<-produced
		// Lag has recovered when it stays at or below twice its earlier maximum.
		limit, peak, recovered := max(2*base, *scaleRate), 0.0, time.Duration(0)
		first := time.Time{}
		for _, m := range turned {
			peak = max(peak, m.lag())
			if m.lag() > limit {
				if first.IsZero() {
					first = m.at
				}
				recovered = m.at.Sub(first)
			}
			if os := int(m.at.Sub(turn).Seconds()); os%10 == 0 {
				b.Logf("turn +%d s: lag %.0f, sealed %.0f, rss %d MB", os, m.lag(), m.file-files, m.rss/1e6)
			}
		}
		end := turned[len(turned)-1]
		figures["steady_peak_rss_MB"], figures["turn_peak_rss_MB"] = float64(peakRSS(steady))/1e6, float64(peakRSS(turned))/1e6
		figures["peak_handles"] = max(peakHandles(drain), peakHandles(steady), peakHandles(turned))
		figures["lag_before"], figures["lag_peak"], figures["lag_recovered_s"] = base, peak, recovered.Seconds()
		figures["turn_s"] = end.at.Sub(turn).Seconds()
		figures["turn_cpu_s"] = (end.cpu - steady[len(steady)-1].cpu).Seconds()
		r.entries(figures)
		requests := map[string]int64{}
		for kind, n := range r.setDelay(0) {
			requests[kind] = n - before[kind]
		}
		figures["requests"] = requests
		r.recordResult(b.Name(), figures)
		r.stop()
		b.ReportMetric(float64(max(peakRSS(drain), peakRSS(steady), peakRSS(turned)))/1e6, "peak-rss-MB")
		b.ReportMetric(recovered.Seconds(), "lag-recovered-s")
	}
}

// BenchmarkOverload gives the appender three times as many events as it can process, for a while.
// It reports how fast the appender catches up afterwards, compared with its maximum when nothing
// else runs, in wall and CPU time, and how much memory it uses meanwhile. So that the producer fits
// on the same machine, the appender is stopped for two thirds of the overload's time. Then it does
// the same with the staging bucket, which is made slow. `sealift verify` confirms that everything
// is in the ledger once.
//
//	scripts/bench-scale.sh overload
func BenchmarkOverload(b *testing.B) {
	for b.Loop() {
		r := newScaleRig(b, *scaleSources)
		figures := map[string]any{"label": *scaleLabel, "sources": *scaleSources, "events": *scaleEvents, "memory": *scaleMemory, "for": scaleFor.String()}
		r.produce(b.Context(), *scaleEvents, 0)
		r.start("memory: " + *scaleMemory + ", roll_every: 1h, seal_on_stop: true")
		rate := func(ms []moment) float64 {
			return ratePerSecond(ms[:len(ms)-1], func(m moment) float64 { return m.read })
		}
		// The second half: before that, lines fill the memory and are not compressed yet.
		r.watch("records read", 10*time.Minute, func(m moment) bool { return m.lag() <= float64(*scaleEvents)/2 })
		level := r.watch("records read", 10*time.Minute, func(m moment) bool { return m.lag() <= 0 })
		steady := rate(level)
		require.Positive(b, steady, "all events were read within two measurements: use a larger -scale.events")
		figures["steady_events_per_s"], figures["steady_peak_rss_MB"], figures["steady_cpu_us_per_event"] = steady, float64(peakRSS(level))/1e6, cpuPerEvent(level)

		ctx, cancel := context.WithTimeout(b.Context(), *scaleFor)
		produced := make(chan struct{})
		began, sent := time.Now(), r.acked.Load()
		go func() { defer close(produced); r.produce(ctx, math.MaxInt64, steady) }()
		go r.throttle(ctx)
		over := r.watch("overload", 10*time.Minute, func(moment) bool { return ctx.Err() != nil })
		<-produced
		cancel()
		last := over[len(over)-1]
		figures["overload_produced_per_s"] = float64(r.acked.Load()-sent) / time.Since(began).Seconds()
		figures["overload_read_per_s"] = (last.read - over[0].read) / last.at.Sub(over[0].at).Seconds()
		figures["overload_lag"] = float64(r.acked.Load()) - last.read
		catchUp := r.watch("catch-up", 10*time.Minute, func(m moment) bool { return m.lag() <= 0 })
		figures["catch_up_events_per_s"], figures["catch_up_ratio"] = rate(catchUp), rate(catchUp)/steady
		figures["catch_up_cpu_us_per_event"], figures["catch_up_cpu_ratio"] = cpuPerEvent(catchUp), cpuPerEvent(level)/cpuPerEvent(catchUp)
		figures["overload_peak_rss_MB"], figures["catch_up_peak_rss_MB"] = float64(peakRSS(over))/1e6, float64(peakRSS(catchUp))/1e6
		r.stop()
		b.Logf("%v", figures)
		r.slowStaging(figures)
		figures["records_in_ledger"], figures["records_acked"] = r.verified(), r.acked.Load()
		r.recordResult(b.Name(), figures)
		b.ReportMetric(rate(catchUp)/steady, "catch-up-ratio")
		b.ReportMetric(float64(max(peakRSS(over), peakRSS(catchUp)))/1e6, "peak-rss-MB")
	}
}

// throttle lets the appender run for a third of the time, until ctx ends.
func (r *scaleRig) throttle(ctx context.Context) {
	for ctx.Err() == nil {
		_ = r.appender.signal(syscall.SIGSTOP)
		time.Sleep(200 * time.Millisecond)
		_ = r.appender.signal(syscall.SIGCONT)
		time.Sleep(100 * time.Millisecond)
	}
}

// cpuPerEvent is in microseconds of the appender's process.
func cpuPerEvent(ms []moment) float64 {
	from, to := ms[0], ms[len(ms)-1]
	return float64((to.cpu - from.cpu).Microseconds()) / (to.read - from.read)
}

// slowStaging has three times as many files sealed as the staging bucket accepts, for a while, with
// roll_every at 10s and slow PUTs. Then PUTs are as fast as before, and the highest rate of staged
// files over two seconds is compared with that before.
func (r *scaleRig) slowStaging(figures map[string]any) {
	const roll = 10 * time.Second
	r.counting = true
	r.start("memory: " + *scaleMemory + ", roll_every: 10s, seal_on_stop: true")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	produced := make(chan struct{})
	go func() { defer close(produced); r.produce(ctx, math.MaxInt64, float64(r.sources)) }() // in each period, some records of nearly every source
	begin := time.Now()
	phase := func(d time.Duration) func(moment) bool {
		begin = time.Now()
		return func(moment) bool { return time.Since(begin) > d }
	}
	r.watch("files are sealed", time.Minute, phase(2*roll))
	level := r.watch("files are sealed", 5*time.Minute, phase(3*roll))
	sealed := ratePerSecond(level, func(m moment) float64 { return float64(m.staged) })
	delay := time.Duration(3 * stagingUploads / sealed * float64(time.Second))
	r.setDelay(delay)
	slow := r.watch("staging is slow", 10*time.Minute, phase(max(*scaleFor, 3*roll)))
	cancel()
	<-produced
	r.setDelay(0)
	catchUp := r.watch("catch-up of staging", 10*time.Minute, func(m moment) bool {
		return m.lag() <= 0 && m.at.Sub(begin) > roll && m.values["sealift_appender_waiting_files"] == 0
	})
	figures["staging_put_delay_ms"], figures["staging_sealed_per_s"] = delay.Milliseconds(), sealed
	figures["staging_slow_per_s"] = ratePerSecond(slow, func(m moment) float64 { return float64(m.staged) })
	figures["staging_slow_waiting"], figures["staging_peak_rss_MB"] = slow[len(slow)-1].values["sealift_appender_waiting_files"], float64(peakRSS(slow))/1e6
	figures["staging_most_per_s"], figures["staging_catch_up_most_per_s"] = mostStaged(level), mostStaged(catchUp)
	figures["staging_catch_up_ratio"] = mostStaged(catchUp) / mostStaged(level)
	r.stop()
}

// stagingUploads is the default of rotator.Config.Uploads.
const stagingUploads = 16

// ratePerSecond returns the increase of a value per second.
func ratePerSecond(ms []moment, of func(moment) float64) float64 {
	from, to := ms[0], ms[len(ms)-1]
	return (of(to) - of(from)) / to.at.Sub(from.at).Seconds()
}

// mostStaged returns the highest rate of staged files per second, over two seconds.
func mostStaged(ms []moment) (most float64) {
	for i, j := 0, 0; j < len(ms); j++ {
		for ms[j].at.Sub(ms[i].at) > 2*time.Second {
			i++
		}
		if ms[j].at.Sub(ms[i].at) > time.Second {
			most = max(most, float64(ms[j].staged-ms[i].staged)/ms[j].at.Sub(ms[i].at).Seconds())
		}
	}
	return most
}

// verified returns the number of records in the ledger, each of which is there once.
func (r *scaleRig) verified() int64 {
	text, err := sealift(r.Context(), []string{"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench"}, "verify", "--json", "--config", r.config(""))
	var report struct{ Records, Problems int64 }
	require.NoError(r, json.Unmarshal([]byte(text), &report), "%v", err)
	require.Zero(r, report.Problems, text[:min(len(text), 4000)])
	require.Equal(r, r.acked.Load(), report.Records, "records in files, of "+strconv.FormatInt(r.acked.Load(), 10)+" that Kafka acknowledged")
	return report.Records
}
