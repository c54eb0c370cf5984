// Package verify is the consistency check of a Sealift installation, as fsck is for a file system:
// it walks the ledger from its first entry and compares it, the staged files, the receipts and,
// where they can be read, the customers' buckets with each other and with the invariants of the
// protocol (I1 to I4, I7 to I10).
//
// It is for operators, at any time, even while everything is running: before it reports a problem
// that may only be a matter of timing, it looks again. It writes nothing. It does not know what was
// acknowledged (package check does, in tests), and what it could not read it reports as unread,
// never as fine.
//
// It reads chains entry by entry. It keeps in memory, for the current partition, the keys of its
// staged objects; for every destination, a count per source and day; the sources; and the keys of
// parked jobs.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// Config says what is verified, and how thoroughly.
type Config struct {
	Topic       string // the events topic; default sealift.events
	Incarnation string // default "1"
	// CommandFlags are the flags that commands in fixes need to be about this ledger; default none.
	CommandFlags string
	// Partition is the only one to verify; -1: all.
	Partition int
	// Source limits the check to files of one source, Destination to the receipts and objects of
	// one destination; "": all. The chain itself is always verified for all.
	Source      string
	Destination string
	// Since and Until bound when entries were stored; zero: no bound.
	Since, Until time.Time
	// Deep reads every file and verifies its checksums and that its lines are JSON.
	Deep bool
	// Retain is how long delivered staged files are kept; default 168h.
	Retain time.Duration
	// Overdue is the age from which a debt that is not parked is a problem; default 48h.
	Overdue time.Duration
	// AllowGaps says that the log itself may have gaps in its offsets, as with transactional
	// producers or a compacted topic.
	AllowGaps bool
	// Concurrency is the number of concurrent checks, each of which makes one request at a time;
	// default 32.
	Concurrency int
	// MaxExamples bounds Report.Examples; default 100.
	MaxExamples int
}

// Bucket is a destination's bucket, to be read.
type Bucket struct {
	Store  objstore.Store
	Server string // distinguishes buckets of the same name on several servers
	Name   string
	Prefix string // of keys, without slashes at either end
}

// Deps are what is read.
type Deps struct {
	Staging objstore.Store
	// Bucket opens the bucket of a destination, "workspace/name". Its error says why it cannot be
	// read: ErrNoDestination or objstore.ErrDenied mean that we are not supposed to, and
	// objstore.ErrNoBucket that the bucket, whose name is returned all the same, does not exist;
	// after any other error nothing is known. nil: no bucket is read.
	Bucket func(ctx context.Context, destination string) (Bucket, error)
	// OnFound and OnDone are called with numbers of entries found and done, to show progress; nil:
	// not called.
	OnFound, OnDone func(entries int64)
}

// ErrNoLedger says that there is no ledger to verify.
var ErrNoLedger = errors.New("nothing to verify")

// ErrNoDestination says that the destination does not exist, or no longer does.
var ErrNoDestination = errors.New("the destination is not in the catalog")

// verifier is one run.
type verifier struct {
	cfg     Config
	deps    Deps
	staging objstore.Store
	report  *Report
	parked  *parkedSet
	buckets *buckets
	now     time.Time
	orders  []*delivery.Order   // of replays of this topic
	damaged map[ledger.Log]bool // chains with entries that cannot be read
	// sources are the sources of the ledger's files, with the workspaces that they were ever owed
	// to.
	sources map[string]map[string]bool
}

// Verify verifies. With an error, which says what could not be checked, the report still covers the
// rest.
func Verify(ctx context.Context, cfg Config, deps Deps) (*Report, error) {
	v := newVerifier(cfg, deps)
	v.buckets = &buckets{v: v, byDestination: map[string]*bucket{}}
	err := v.run(ctx)
	v.report.finish(time.Now())
	return v.report, err
}

func newVerifier(cfg Config, deps Deps) *verifier {
	cfg.Topic = cmp.Or(cfg.Topic, "sealift.events")
	cfg.Incarnation = cmp.Or(cfg.Incarnation, "1")
	cfg.Retain = cmp.Or(cfg.Retain, 168*time.Hour)
	cfg.Overdue = cmp.Or(cfg.Overdue, 48*time.Hour)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 32)
	cfg.MaxExamples = cmp.Or(cfg.MaxExamples, 100)
	now := time.Now()
	return &verifier{cfg: cfg, deps: deps, staging: objstore.WithReadRetries(deps.Staging), report: newReport(now, cfg), now: now, damaged: map[ledger.Log]bool{}, sources: map[string]map[string]bool{}}
}

// readsWholeTopic tells whether every file and every chain of the topic is read: only then can
// something be called foreign.
func (v *verifier) readsWholeTopic() bool {
	return v.cfg.Partition < 0 && v.cfg.Since.IsZero() && v.cfg.Until.IsZero()
}

// run checks everything that Config asks for.
func (v *verifier) run(ctx context.Context) error {
	firstKeys, err := v.firstKeys(ctx) // first, because a chain begins before anything refers to it
	if err != nil {
		return err
	}
	logs, err := v.findLogs(ctx)
	if err != nil {
		return err
	}
	logs = v.addMissingChains(logs, firstKeys)
	if v.parked, err = listParked(ctx, v.staging); err != nil {
		return err
	}
	if err := v.listOrders(ctx); err != nil {
		return err
	}
	var errs []error
	for _, l := range logs {
		if !v.includesLog(l) || v.damaged[l] {
			continue
		}
		if err := v.verifyChain(ctx, l); err != nil {
			errs = append(errs, fmt.Errorf("verify ledger %s: %w", l, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.report.Chains++
	}
	if v.report.Chains == 0 {
		return fmt.Errorf("%w: %w", ErrNoLedger, ledger.NoPartitionError(logs, v.cfg.Topic, v.cfg.Incarnation, v.cfg.Partition))
	}
	if v.readsWholeTopic() && len(errs) == 0 {
		errs = append(errs, v.checkStrayParked(ctx), v.verifyReplays(ctx), v.checkForeignObjects(ctx, logs))
	}
	return errors.Join(errs...)
}

// includesLog reports whether a chain is checked.
func (v *verifier) includesLog(l ledger.Log) bool {
	return l.Topic == v.cfg.Topic && l.Incarnation == v.cfg.Incarnation && (v.cfg.Partition < 0 || l.Partition == v.cfg.Partition)
}

// findLogs finds every chain in the staging bucket, of any topic.
func (v *verifier) findLogs(ctx context.Context) ([]ledger.Log, error) {
	return ledger.FindLogs(ctx, v.staging, "", "", func(key string) { v.report.addProblem(ChainForeign, key, "is no ledger entry") })
}

// firstKeys finds the partitions of the topic of which staging has files or receipts, with the
// first key of each.
func (v *verifier) firstKeys(ctx context.Context) (map[ledger.Log]string, error) {
	found := map[ledger.Log]string{}
	for _, kind := range []string{"data/", "receipts/"} {
		below := kind + v.cfg.Topic + "/" + v.cfg.Incarnation + "/"
		for after := ""; ; {
			infos, err := v.staging.List(ctx, below, after, 1)
			if err != nil {
				return nil, err
			}
			if len(infos) == 0 {
				break
			}
			key := infos[0].Key
			part, _, _ := strings.Cut(strings.TrimPrefix(key, below), "/")
			after = max(below+part+"/~", key) // after all keys of that partition
			l := ledger.Log{Topic: v.cfg.Topic, Incarnation: v.cfg.Incarnation}
			if l.Partition, err = strconv.Atoi(part); err == nil && strings.HasPrefix(key, kind+l.String()+"/") && found[l] == "" {
				found[l] = key
			}
		}
	}
	return found, nil
}

// addMissingChains reports chains of which only files or receipts exist, and adds them to the
// others.
//
// Invariant: I1, entry 0 exists if anything of its partition does.
func (v *verifier) addMissingChains(logs []ledger.Log, firstKeys map[ledger.Log]string) []ledger.Log {
	for l, key := range firstKeys {
		if v.includesLog(l) && !slices.Contains(logs, l) {
			v.report.addProblem(ChainGap, l.String()+" entry 0", "the whole chain is missing, and %q is there", key)
			v.damaged[l] = true
			logs = append(logs, l)
		}
	}
	return logs
}

// includesDestination reports whether debts to the destination are checked.
func (v *verifier) includesDestination(destination string) bool {
	return v.cfg.Destination == "" || v.cfg.Destination == destination
}

// describeFile describes a file of an entry for people.
func describeFile(ref delivery.FileRef) string {
	return fmt.Sprintf("%s entry %d file %d", ref.Log(), ref.Seq, ref.Index)
}
