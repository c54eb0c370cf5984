// Package verify is the file-system check of a Sealift installation: it walks
// the ledger from its first entry and holds it, the staged files, the receipts
// and, where they can be read, the customers' buckets against each other and
// against the invariants of the protocol (I1 to I4, I7 to I10).
//
// It is for operators, at any time, also while everything runs: before it says
// that something is wrong it looks again. It writes nothing. It does not know
// what was acknowledged (package check does, in tests), and what it could not
// read it reports as that, never as fine.
//
// It reads chains entry by entry. What it holds is, for the partition at hand,
// the keys of its staged objects; for every destination, a count for each
// source and day; the sources; and the keys of parked jobs.
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
	// Flags are what the commands in fixes need to be about this ledger; default none.
	Flags string
	// Partition is the only one to look at; -1: all.
	Partition int
	// Source is the only one whose files are looked at, Destination the only
	// one whose receipts and objects are; "": all. The chain itself is always
	// verified for all.
	Source      string
	Destination string
	// Since and Until bound when entries were stored; zero: they do not.
	Since, Until time.Time
	// Deep reads every file: its checksums, its lines, and that they are JSON.
	Deep bool
	// Retain is how long delivered staged files are kept; default 168h.
	Retain time.Duration
	// Overdue is the age from which a debt that is not parked is a problem;
	// default 48h.
	Overdue time.Duration
	// AllowGaps says that offsets may be missing in the log itself, as with
	// transactional producers or a compacted topic.
	AllowGaps bool
	// AtOnce is how many requests are made at once; default 32.
	AtOnce int
	// Examples bounds Report.Examples; default 100.
	Examples int
}

// Bucket is a destination's bucket, to be read.
type Bucket struct {
	Store  objstore.Store
	Server string // tells buckets of one name on several servers apart
	Name   string
	Prefix string // of keys, without slashes at its ends
}

// Deps are what is read.
type Deps struct {
	Staging objstore.Store
	// Bucket opens the bucket of a destination, "workspace/name". Its error
	// says why it cannot be read: one that is ErrNoDestination, or
	// objstore.ErrDenied or ErrNoBucket, that we have no business in it; any
	// other, that it could not be looked at. Nil: no bucket is looked at.
	Bucket func(ctx context.Context, destination string) (Bucket, error)
	// Found and Done tell of entries, for progress; nil: nobody is told.
	Found, Done func(entries int64)
}

// ErrNothing says that there is no ledger to verify.
var ErrNothing = errors.New("nothing to verify")

// ErrNoDestination says that there is no such destination, or is no longer.
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
	damaged map[ledger.Log]bool // chains of which entries cannot be read
	// sources are those of the ledger's files, with the workspaces that they
	// were ever owed to.
	sources map[string]map[string]bool
}

// Verify verifies. The report is of what could be looked at, also with an
// error, which says why the rest could not.
func Verify(ctx context.Context, cfg Config, deps Deps) (*Report, error) {
	v := newVerifier(cfg, deps)
	v.buckets = &buckets{v: v, open: map[string]*bucket{}}
	err := v.all(ctx)
	v.report.finish(time.Now())
	return v.report, err
}

func newVerifier(cfg Config, deps Deps) *verifier {
	cfg.Topic = cmp.Or(cfg.Topic, "sealift.events")
	cfg.Incarnation = cmp.Or(cfg.Incarnation, "1")
	cfg.Retain = cmp.Or(cfg.Retain, 168*time.Hour)
	cfg.Overdue = cmp.Or(cfg.Overdue, 48*time.Hour)
	cfg.AtOnce = cmp.Or(cfg.AtOnce, 32)
	cfg.Examples = cmp.Or(cfg.Examples, 100)
	now := time.Now()
	return &verifier{cfg: cfg, deps: deps, staging: objstore.Patient(deps.Staging), report: newReport(now, cfg), now: now, damaged: map[ledger.Log]bool{}, sources: map[string]map[string]bool{}}
}

// whole says that every file and every chain of the topic is looked at: only
// then can something be called foreign.
func (v *verifier) whole() bool {
	return v.cfg.Partition < 0 && v.cfg.Since.IsZero() && v.cfg.Until.IsZero()
}

func (v *verifier) all(ctx context.Context) error {
	traces, err := v.traces(ctx) // first: a chain is begun before all that names it
	if err != nil {
		return err
	}
	logs, err := v.logs(ctx)
	if err != nil {
		return err
	}
	logs = v.lost(logs, traces)
	if v.parked, err = listParked(ctx, v.staging); err != nil {
		return err
	}
	if err := v.listOrders(ctx); err != nil {
		return err
	}
	var errs []error
	for _, l := range logs {
		if !v.wants(l) || v.damaged[l] {
			continue
		}
		if err := v.chain(ctx, l); err != nil {
			errs = append(errs, fmt.Errorf("verify ledger %s: %w", l, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.report.Chains++
	}
	if v.report.Chains == 0 {
		return fmt.Errorf("%w: topic %q, incarnation %q has no ledger in this bucket", ErrNothing, v.cfg.Topic, v.cfg.Incarnation)
	}
	if v.whole() && len(errs) == 0 {
		errs = append(errs, v.strayParked(ctx), v.replays(ctx), v.foreign(ctx, logs))
	}
	return errors.Join(errs...)
}

func (v *verifier) wants(l ledger.Log) bool {
	return l.Topic == v.cfg.Topic && l.Incarnation == v.cfg.Incarnation && (v.cfg.Partition < 0 || l.Partition == v.cfg.Partition)
}

// logs finds every chain of the staging bucket, of any topic.
func (v *verifier) logs(ctx context.Context) ([]ledger.Log, error) {
	return ledger.FindLogs(ctx, v.staging, "", "", func(key string) { v.report.problem(ChainForeign, key, "is no ledger entry") })
}

// traces finds the partitions of the topic that staging holds files or receipts
// of, with the first key of each.
func (v *verifier) traces(ctx context.Context) (map[ledger.Log]string, error) {
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
			after = max(below+part+"/~", key) // past all of it
			l := ledger.Log{Topic: v.cfg.Topic, Incarnation: v.cfg.Incarnation}
			if l.Partition, err = strconv.Atoi(part); err == nil && strings.HasPrefix(key, kind+l.String()+"/") && found[l] == "" {
				found[l] = key
			}
		}
	}
	return found, nil
}

// lost tells of chains that left traces, and adds them to those that are there.
//
// Invariant: I1, entry 0 exists if anything of its partition does.
func (v *verifier) lost(logs []ledger.Log, traces map[ledger.Log]string) []ledger.Log {
	for l, key := range traces {
		if v.wants(l) && !slices.Contains(logs, l) {
			v.report.problem(ChainGap, l.String()+" entry 0", "the whole chain is missing, and %q is there", key)
			v.damaged[l] = true
			logs = append(logs, l)
		}
	}
	return logs
}

// looksAt reports whether the debt is looked at.
func (v *verifier) looksAt(destination string) bool {
	return v.cfg.Destination == "" || v.cfg.Destination == destination
}

// place names a file of an entry for people.
func place(ref delivery.FileRef) string {
	return fmt.Sprintf("%s entry %d file %d", ref.Log(), ref.Seq, ref.Index)
}
