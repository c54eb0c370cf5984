package plan

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/progress"
)

// Plan is what a load needs. Figures per day are for an average day; workers are sized for the
// peak.
type Plan struct {
	Load Load `json:"load"`
	// Needs are in the order of the data path.
	Kafka   Kafka    `json:"kafka"`
	Workers []Worker `json:"workers"`

	BytesPerDay      float64 `json:"bytes_per_day"` // of lines
	GzipPerDay       float64 `json:"gzip_bytes_per_day"`
	FilesPerDay      float64 `json:"files_per_day"`
	DeliveriesPerDay float64 `json:"deliveries_per_day"`
	EntriesPerDay    float64 `json:"ledger_entries_per_day"`
	MedianFile       float64 `json:"median_source_file_bytes"` // of one roll of the median source
	HottestShare     float64 `json:"hottest_source_share"`

	Requests        []Cost  `json:"requests"`
	RequestsPerFile float64 `json:"requests_per_delivery"` // of all kinds
	StagedBytes     float64 `json:"staged_bytes"`
	StorageUSD      float64 `json:"storage_usd_per_month"`
	OperatorUSD     float64 `json:"operator_usd_per_month"`
	CustomersUSD    float64 `json:"customers_usd_per_month"`

	// Notes say what breaks or hurts first, and what to do about it.
	Notes []string `json:"notes"`

	Prices      []Price  `json:"prices"`
	PriceSource string   `json:"price_source"`
	Measured    Measured `json:"measured"`
}

// Kafka is what the events topic needs.
type Kafka struct {
	Partitions     int     `json:"partitions"`
	BytesPerSecond float64 `json:"peak_bytes_per_second"` // compressed, before replication
	DiskBytes      float64 `json:"disk_bytes"`            // of all replicas, at the average rate
}

// Worker is what one role needs at the peak.
type Worker struct {
	Role        string  `json:"role"`
	Busy        float64 `json:"busy_cores"` // of all workers together
	Count       int     `json:"count"`
	MemoryBytes float64 `json:"memory_bytes"` // of each worker
	DiskBytes   float64 `json:"disk_bytes"`   // of each worker
}

// Cost is the cost of one kind of request.
type Cost struct {
	Kind    string  `json:"kind"`
	Payer   string  `json:"payer"` // "operator" or "customers"
	PerDay  float64 `json:"per_day"`
	USD     float64 `json:"usd_per_month"`
	PerFile float64 `json:"per_delivery"`
}

const (
	day           = 24 * time.Hour
	daysPerMonth  = 30.4
	filesPerEntry = 1000 // at most, in one ledger entry
	listedAtOnce  = 1000 // objects in the answer to a LIST
	minWorkers    = 2    // one may be down
	dedupDisk     = 18   // bytes per message, see pkg/dedup
	dedupMemory   = 1.5
	blockBytes    = 128 << 10 // how much of a file's lines waits in memory, at most
	fetchedBytes  = 9e6       // memory of a partition that catches up: two fetches, compressed and decompressed, see pkg/stream
	heapOverLines = 1.25      // an appender collects garbage when its heap is a quarter above what is live
	goHeap        = 2         // Go collects garbage when the heap is twice what is live
	requestsEach  = 2         // requests of a copier, one after the other, while a delivery has a slot
	baseMemory    = 64e6      // memory of an auditor
	catalogBytes  = 1000      // memory of a source or a destination in the catalog
)

var (
	appenderDefaults  = config.Default().Appender // its sizes
	replayConcurrency = config.Default().Copier.ReplayConcurrency
)

// Estimate returns what the load needs.
func Estimate(l Load, m Measured) (Plan, error) {
	if err := l.validate(); err != nil {
		return Plan{}, err
	}
	rolls := float64(day / l.RollEvery)
	perRoll := l.EventsPerSecond * l.RollEvery.Seconds()
	mean, peak := l.roll(perRoll, m), l.roll(perRoll*l.Peak, m)
	p := Plan{
		Load: l, Measured: m, Prices: prices(), PriceSource: PriceSource,
		BytesPerDay: l.EventsPerSecond * day.Seconds() * l.EventBytes, GzipPerDay: mean.gzip * rolls,
		FilesPerDay: mean.count * rolls, DeliveriesPerDay: mean.count * rolls * l.Copies,
		MedianFile: mean.medianBytes, HottestShare: mean.hottest,
	}
	p.sizeWorkers(peak)
	p.sizeKafka(peak)
	p.countRequests(mean, rolls)
	p.addNotes(peak)
	return p, nil
}

// sizeWorkers sizes the roles. Files are made and delivered after the turn of the hour, so the work
// for them has to be done within DeliverWithin.
func (p *Plan) sizeWorkers(peak rollFiles) {
	l, m := p.Load, p.Measured
	bytes := l.EventsPerSecond * l.Peak * l.EventBytes
	turn := min(l.DeliverWithin, l.RollEvery).Seconds()
	deliveries := peak.count * l.Copies / turn
	catalog := goHeap * catalogBytes * float64(l.Sources+l.Destinations) // every role holds all of it
	add := func(role string, cores float64, least int, memory, disk float64) {
		n := max(least, int(ceil(cores/l.Utilisation/l.Cores)))
		p.Workers = append(p.Workers, Worker{role, cores, n, memory + catalog, disk / float64(n)})
	}
	// Slow senders, or more of them than it can serve, fill the room that requests have in memory.
	add("collector", bytes*m.CollectorPerByte, minWorkers, float64(m.CollectorRSS)+goHeap*float64(config.Default().Collector.MaxInFlight), 0)
	messages := l.EventsPerSecond * l.DedupWindow.Seconds()
	// Open files, and files that are sealed but not staged yet.
	disk := 2*peak.gzip + dedupDisk*messages
	add("appender", bytes*m.AppenderPerByte+peak.count/turn*m.AppenderPerFile, minWorkers, float64(m.AppenderRSS), 0)
	// The benchmark's appender held few lines, and few messages to find duplicates.
	appender := p.worker("appender")
	appender.MemoryBytes += heapOverLines * min(float64(appenderDefaults.Memory), blockBytes*peak.count/appender.remaining())
	appender.MemoryBytes += heapOverLines * min(float64(appenderDefaults.DedupMemory), dedupMemory*messages/appender.remaining())
	// Below appender.disk_free reading pauses, until a quarter more is free.
	appender.DiskBytes = disk/appender.remaining() + float64(appenderDefaults.DiskFree)*5/4
	// A copier spends most of the time waiting for S3.
	slots := deliveries * requestsEach * l.S3Latency.Seconds()
	copiers := max(minWorkers, int(ceil(slots/float64(l.Concurrency))))
	add("copier", peak.gzip*l.Copies/turn*m.CopierPerByte+deliveries*m.CopierPerFile, copiers, float64(m.CopierRSS),
		float64(3*(l.Concurrency+replayConcurrency)*copiers)*min(l.MaxBytes, peak.gzip/peak.count*10))
	p.Workers = append(p.Workers, Worker{Role: "auditor", Count: 1, MemoryBytes: baseMemory + catalog})
}

// remaining returns how many workers there are while one is down. The others then have its
// partitions and files. If they lack CPU for that, they fall behind for a while; if they lack disk
// or memory, they stop.
func (w *Worker) remaining() float64 { return float64(w.Count - 1) }

func (p *Plan) worker(role string) *Worker {
	return &p.Workers[slices.IndexFunc(p.Workers, func(w Worker) bool { return w.Role == role })]
}

// sizeKafka sizes the events topic: a partition is read by one goroutine of one appender, and it
// should be possible to share the partitions evenly among the appenders.
func (p *Plan) sizeKafka(peak rollFiles) {
	l, appender := p.Load, p.worker("appender")
	n := max(8, 2*float64(appender.Count), ceil(appender.Busy/l.Utilisation))
	if peak.spread > 0 {
		n = max(n, float64(l.Spread))
	}
	each := ceil(n / float64(appender.Count))
	n = each * float64(appender.Count)
	appender.MemoryBytes += heapOverLines * fetchedBytes * n / appender.remaining() // the benchmark's appender read few partitions
	perSecond := l.EventsPerSecond * l.EventBytes * p.Measured.KafkaPerByte
	p.Kafka = Kafka{
		Partitions: int(n), BytesPerSecond: perSecond * l.Peak,
		DiskBytes: perSecond * l.KafkaRetention.Seconds() * float64(l.Replication),
	}
}

// countRequests counts the requests of a day, and their cost.
func (p *Plan) countRequests(mean rollFiles, rolls float64) {
	l, partitions := p.Load, float64(p.Kafka.Partitions)
	turns := max(partitions, ceil((mean.count-mean.cutBySize)/filesPerEntry))
	entries := turns + mean.cutBySize
	p.EntriesPerDay = entries * rolls
	staged := mean.count - mean.small + PackCount(mean.small, mean.smallGzip, turns)
	sealed := CountRequests(Volume{
		Files: mean.count, Copies: l.Copies, Small: mean.small, Spans: SpanCount(mean.small, mean.smallGzip, turns), Staged: staged, Entries: entries,
		Copiers: min(float64(p.worker("copier").Count), max(1, mean.count*l.Copies/entries)),
	}).scale(rolls)
	for _, kind := range slices.Sorted(maps.Keys(sealed)) {
		payer := "operator"
		if kind == "put object" {
			payer = "customers"
		}
		p.addCost(kind, payer, sealed[kind])
	}
	// An audit runs each hour (auditor.every). For each chain it reads the head and its hint, and
	// writes the hint. For each new entry it reads the entry, lists the receipts and reads their
	// batches.
	audits := float64(day/time.Hour) * partitions
	p.addCost("list audit", "operator", audits+p.EntriesPerDay*ceil(sealed["put receipt"]/p.EntriesPerDay/listedAtOnce))
	batches := 0.0
	if sealed["list receipt"] > 0 {
		batches = sealed["put receipt"]
	}
	p.addCost("get audit", "operator", audits+p.EntriesPerDay+batches)
	p.addCost("put audit", "operator", audits)
	p.addCost("data_key object", "customers", p.DeliveriesPerDay*l.KMSShare)
	// A destination's role is assumed once an hour by each copier that delivers to it, for all of
	// its sources. Its trust is verified once a day.
	p.addCost("assume_role", "operator", float64(l.Destinations)*float64(p.worker("copier").Count)*26)
	p.StagedBytes = p.GzipPerDay * l.StagingRetention.Hours() / 24
	p.StorageUSD = p.StagedBytes / 1e9 * storagePrice
	p.OperatorUSD += p.StorageUSD
}

func (p *Plan) addCost(kind, payer string, perDay float64) {
	op, _, _ := strings.Cut(kind, " ")
	c := Cost{Kind: kind, Payer: payer, PerDay: perDay, USD: perDay * daysPerMonth * priceOf(op), PerFile: perDay / p.DeliveriesPerDay}
	p.Requests = append(p.Requests, c)
	p.RequestsPerFile += c.PerFile
	if payer == "operator" {
		p.OperatorUSD += c.USD
	} else {
		p.CustomersUSD += c.USD
	}
}

// addNotes adds notes on what breaks or hurts first.
func (p *Plan) addNotes(peak rollFiles) {
	l, m := p.Load, p.Measured
	note := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	hot := l.cores(peak.hottest, m)
	if need := int(ceil(hot / l.Utilisation)); need > l.Spread {
		note("the largest source has %.1f %% of the events, %.1f cores' worth of one partition, which one goroutine reads: give it spread: %d in the catalog (one more file an hour for each partition, and no order among them; --spread %d counts that), or split it into sources",
			100*peak.hottest, hot, need, need)
	}
	appender := p.worker("appender")
	if need := dedupMemory * l.EventsPerSecond * l.DedupWindow.Seconds() / float64(appender.Count); need > float64(appenderDefaults.DedupMemory) {
		note("leaving out duplicates of %s takes %.1f GB of memory of each appender, more than the default: set appender.dedup_memory, start more appenders, or the window gets shorter", progress.Duration(l.DedupWindow), need/1e9)
	}
	if p.MedianFile < 20e3 {
		note("half of the sources fill less than %.0f kB in %s: files and their requests are the cost there, %.0f %% of the operator's requests at list prices are for %.0f files a day",
			math.Ceil(p.MedianFile/1e3), progress.Duration(l.RollEvery), 100*(1-p.StorageUSD/p.OperatorUSD), p.FilesPerDay)
	}
	if perSecond := peak.count * l.Copies / receiptsPerBatch / min(l.DeliverWithin, l.RollEvery).Seconds(); perSecond > 3_000 {
		note("%.0f batches of receipts a second are put into the staging bucket after the hour's turn: S3 takes 3,500 a second and prefix, and splits prefixes that are busy for long; ask for it beforehand, or allow more time (--deliver-within)", perSecond)
	}
}
