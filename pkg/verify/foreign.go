package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

const (
	// maxSuspects bounds how many objects are compared with the ledger by name, and how many
	// objects a bucket may list in addition to those with receipts: its server is a customer's, who
	// may list forever.
	maxSuspects = 1_000_000
	// maxKeyBytes is S3's limit; the keys of all suspects are kept.
	maxKeyBytes = 1024 // bytes
	// maxOthersInRow is the number of objects in a row, of a source that is not ours, after which
	// that source is listed no further: the bucket may hold years of another system's objects.
	maxOthersInRow = 1000
)

// suspects are objects whose names say that they belong to one log, but which may be in no ledger:
// they are in folders that have more or fewer objects than the receipts led to. The map key is the
// object key without the destination's prefix, so that a file of several destinations is looked up
// once.
type suspects map[string][]suspect

// suspect is an object in one bucket.
type suspect struct {
	bucket *bucket
	put    time.Time
}

// checkForeignObjects looks for objects that no file of the ledger accounts for. Every receipt's
// object was found, so a folder with as many objects has no others; names are compared only in the
// other folders. Objects put after the verification began are left out on both sides: otherwise,
// while a fleet is running, today's folder of nearly every destination would be suspect.
func (v *verifier) checkForeignObjects(ctx context.Context, logs []ledger.Log) error {
	found := map[ledger.Log]suspects{}
	suspectCount := 0
	present := map[site]map[folder]int64{} // from the receipts of the destination there that has most
	for _, b := range v.buckets.byDestination {
		if present[b.site()] == nil {
			present[b.site()] = map[folder]int64{}
		}
		for f, n := range b.objectsPerFolder {
			present[b.site()][f] = max(n, present[b.site()][f])
		}
	}
	ids := logIDs(logs)
	for _, b := range v.buckets.byDestination {
		if b.unreadable {
			continue
		}
		tooMany := false
		err := v.listBucket(ctx, b, present[b.site()], func(inFolder []objstore.Info) {
			if suspectCount += len(inFolder); suspectCount > maxSuspects {
				tooMany = true
				return
			}
			for _, info := range inFolder {
				v.classifyObject(found, ids, b, info)
			}
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if tooMany {
			v.report.addUnread(fmt.Sprintf("%s: objects that have no receipt are named up to %d in all, and these exceed it", b.id, maxSuspects))
		}
		if err != nil {
			v.report.addUnread("s3://" + b.Name + "/" + b.root() + ": what else lies there: " + err.Error())
		}
	}
	for l, objects := range found {
		if err := v.removeAccounted(ctx, l, objects); err != nil {
			return err
		}
		v.reportSuspects(l, objects)
	}
	return nil
}

// classifyObject files an object under the log that its name points to. If there is no such log, or
// it is another topic's, nothing has to be read to judge it.
func (v *verifier) classifyObject(found map[ledger.Log]suspects, ids map[string]ledger.Log, b *bucket, info objstore.Info) {
	key := b.innerKey(info.Key)
	l, ok := ids[logID(key)]
	switch {
	case !ok:
		v.reportForeign(b, key)
	case !v.includesLog(l):
		v.report.updateDestination(b.id, func(d *Destination) { d.Elsewhere++ })
	default:
		if found[l] == nil {
			found[l] = suspects{}
		}
		found[l][key] = append(found[l][key], suspect{b, info.LastModified})
	}
}

// listBucket lists what is below segment-logs/ of our sources, whoever they are owed to, and calls
// onUnexpected for folders that have an unexpected number of objects. It gives up a bucket that
// lists far more than expected.
func (v *verifier) listBucket(ctx context.Context, b *bucket, present map[folder]int64, onUnexpected func([]objstore.Info)) error {
	var (
		current folder
		infos   []objstore.Info
	)
	endFolder := func() {
		if int64(len(infos)) != present[current] {
			onUnexpected(infos)
		}
		infos = nil
	}
	prefix := b.root()
	if v.cfg.Source != "" {
		prefix += v.cfg.Source + "/"
	}
	budget := int64(maxSuspects)
	for _, n := range present {
		budget += n
	}
	others := 0 // in a row
	for after, more := "", true; more; {
		more = false
		for info, err := range objstore.AllAfter(ctx, b.Store, prefix, after) {
			switch budget--; {
			case err != nil:
				return err
			case budget < 0:
				return fmt.Errorf("it lists more than %d objects beside those that were delivered", maxSuspects)
			case len(info.Key) > maxKeyBytes:
				return fmt.Errorf("it lists a key of %d bytes", len(info.Key))
			}
			f, ok := folderOf(strings.TrimPrefix(info.Key, b.root()))
			if !ok || v.sources[f.source] == nil { // belongs to others, who may write there
				if others++; ok && others >= maxOthersInRow {
					others, more, after = 0, true, b.root()+f.source+"0" // "0" follows the slash
					break
				}
				continue
			}
			others = 0
			v.report.updateDestination(b.id, func(d *Destination) { d.Listed++ })
			if info.LastModified.After(v.now) {
				continue
			}
			if f != current {
				endFolder()
				current = f
			}
			infos = append(infos, objstore.Info{Key: info.Key, LastModified: info.LastModified})
		}
	}
	endFolder()
	return nil
}

// folderOf parses {source}/{day}/…; an invalid day becomes -1.
func folderOf(key string) (folder, bool) {
	source, rest, ok := strings.Cut(key, "/")
	day, _, _ := strings.Cut(rest, "/")
	ms, err := strconv.ParseInt(day, 10, 64)
	if err != nil || strconv.FormatInt(ms, 10) != day { // 01 is a different folder from 1
		ms = -1
	}
	return folder{source, ms}, ok
}

// removeAccounted removes from the suspects what the chain's files account for, and
// reports those that are neither owed nor ordered. It reads entries from the
// suspects' first day on, and the older ones only if some suspects remain.
func (v *verifier) removeAccounted(ctx context.Context, l ledger.Log, found suspects) error {
	chain := ledger.NewChain(v.staging, l)
	head, err := chain.HeadSeq(ctx)
	if errors.Is(err, ledger.ErrEmpty) {
		return nil
	}
	if err != nil {
		return err
	}
	first, err := firstEntrySince(ctx, chain, head, found.firstDay())
	if errors.Is(err, ledger.ErrNotFound) {
		first, err = 0, nil // already reported as a gap in the chain
	}
	if err != nil {
		return err
	}
	if err := v.removeAccountedBy(ctx, chain, first, head, found); err != nil {
		return err
	}
	return v.removeAccountedBy(ctx, chain, 0, first-1, found) // with a producer's clock that is ahead, a file is in a later day than its entry
}

// firstDay returns when the first of the suspects' days begins.
func (s suspects) firstDay() time.Time {
	first := int64(math.MaxInt64)
	for key := range s {
		f, _ := folderOf(strings.TrimPrefix(key, "segment-logs/"))
		if f.day >= 0 {
			first = min(first, f.day)
		}
	}
	return time.UnixMilli(first)
}

// removeAccountedBy does the work of removeAccounted for entries first to last.
func (v *verifier) removeAccountedBy(ctx context.Context, chain *ledger.Chain, first, last int64, found suspects) error {
	if len(found) == 0 {
		return nil
	}
	l := chain.Log()
	for e, err := range chain.Entries(ctx, first, last, v.cfg.Concurrency) {
		if e == nil {
			if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrCorrupt) {
				continue
			}
			return err
		}
		receipts := v.lazyReceipts(ctx, l, e.Seq)
		for i := range e.Files {
			f := &e.Files[i]
			key := delivery.ObjectKey("", l, f)
			if found[key] == nil {
				continue
			}
			o := &file{walk: &walk{verifier: v, log: l, chain: chain}, e: e, f: f, ref: delivery.Ref(e, i)}
			for _, s := range found[key] {
				if err := o.checkSuspect(ctx, s, receipts); err != nil {
					return err
				}
			}
			if delete(found, key); len(found) == 0 {
				return nil
			}
		}
	}
	return nil
}

// checkSuspect reports a problem unless the file's object belongs in the bucket. receipts returns
// those of its entry.
func (o *file) checkSuspect(ctx context.Context, s suspect, receipts func() (receipt.Set, error)) error {
	key := s.bucket.fullKey(delivery.ObjectKey("", o.log, o.f))
	belongs, err := o.belongsIn(ctx, s.bucket, key, receipts)
	if err != nil || belongs {
		return err
	}
	mayBeReplayed, hint := o.sourceMayGoTo(o.f.Source, s.bucket.id), ""
	if mayBeReplayed {
		hint = retainRaisedHint
	}
	if mayBeReplayed && o.orderExpired(s.put) {
		o.report.updateDestination(s.bucket.id, func(d *Destination) { d.Past++ })
		return nil
	}
	o.report.addProblem(NotOwed, "s3://"+s.bucket.Name+"/"+key, "%s is there, and owed to %s only%s", describeFile(o.ref), joinOwed(o.f.Owed), hint)
	return nil
}

// reportSuspects reports the suspects that no file accounts for.
func (v *verifier) reportSuspects(l ledger.Log, found suspects) {
	for key, in := range found {
		for _, s := range in {
			if v.damaged[l] {
				v.report.addUnread("s3://" + s.bucket.Name + "/" + s.bucket.fullKey(key) + ": may be of an entry that cannot be read")
			} else {
				v.reportForeign(s.bucket, key)
			}
		}
	}
}

// reportForeign reports an object that is in no ledger.
func (v *verifier) reportForeign(b *bucket, key string) {
	v.report.addProblem(ObjectForeign, "s3://"+b.Name+"/"+b.fullKey(key), "no file of the ledger is this object")
}

// fullKey returns the full key of an object, given the part below the destination's prefix.
func (b *bucket) fullKey(inner string) string {
	return strings.TrimSuffix(b.root(), "segment-logs/") + inner
}

// innerKey is the inverse of fullKey.
func (b *bucket) innerKey(key string) string {
	return strings.TrimPrefix(key, strings.TrimSuffix(b.root(), "segment-logs/"))
}

// logID is the part of a file's name, or of its key, that tells its log.
func logID(key string) string {
	part := strings.Split(key[strings.LastIndexByte(key, '/')+1:], ".")
	if len(part) < 2 {
		return ""
	}
	return part[1]
}
