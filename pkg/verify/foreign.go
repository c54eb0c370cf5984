package verify

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// maxSuspects bounds how many objects are held against the ledger by name.
const maxSuspects = 1_000_000

// suspects are objects in buckets that may be in no ledger: those of folders
// that hold another number of objects than were found by their receipts.
type suspects map[string]map[string]struct{} // by destination, keys

// foreign looks for objects that no file of the ledger accounts for. Every
// receipt's object was found, so a folder with as many objects holds no others;
// only of the rest the names are compared.
func (v *verifier) foreign(ctx context.Context, logs []ledger.Log) error {
	found := suspects{}
	n := 0
	for _, b := range v.buckets.open {
		if !b.list || b.closed {
			continue
		}
		keys := map[string]struct{}{}
		err := v.listBucket(ctx, b, func(inFolder []string) {
			if n += len(inFolder); n > maxSuspects {
				v.report.unread(b.id + ": too many objects that have no receipt, only some are named")
				return
			}
			for _, key := range inFolder {
				keys[key] = struct{}{}
			}
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.buckets.unreadable(b, err)
			continue
		}
		if len(keys) > 0 {
			found[b.id] = keys
		}
	}
	if len(found) == 0 {
		return nil
	}
	// What was delivered meanwhile is in entries that came meanwhile.
	for _, l := range logs {
		if v.wants(l) {
			if err := v.clear(ctx, l, found); err != nil {
				return err
			}
		}
	}
	v.accuse(found, logIDs(logs))
	return nil
}

// listBucket lists what lies below segment-logs/ of our sources, and tells of
// the folders whose number of objects is not the expected one.
func (v *verifier) listBucket(ctx context.Context, b *bucket, odd func(keys []string)) error {
	sources := map[string]bool{}
	for f := range b.present {
		sources[f.source] = true
	}
	var (
		at   folder
		keys []string
	)
	end := func() {
		if int64(len(keys)) != b.present[at] {
			odd(keys)
		}
		keys = nil
	}
	prefix := b.root()
	if v.cfg.Source != "" {
		prefix += v.cfg.Source + "/"
	}
	for info, err := range objstore.All(ctx, b.Store, prefix) {
		if err != nil {
			return err
		}
		f, ours := folderOf(strings.TrimPrefix(info.Key, b.root()))
		if !ours || !sources[f.source] {
			continue // of others, who may write there
		}
		v.report.destination(b.id, func(d *Destination) { d.Listed++ })
		if f != at {
			end()
			at = f
		}
		keys = append(keys, info.Key)
	}
	end()
	return nil
}

// folderOf reads {source}/{day}/…; a day that is none is -1.
func folderOf(key string) (folder, bool) {
	source, rest, ok := strings.Cut(key, "/")
	day, _, _ := strings.Cut(rest, "/")
	ms, err := strconv.ParseInt(day, 10, 64)
	if err != nil {
		ms = -1
	}
	return folder{source, ms}, ok
}

// clear takes the objects of a chain's files from the suspects, if they are
// owed, or were ordered.
func (v *verifier) clear(ctx context.Context, l ledger.Log, found suspects) error {
	chain := ledger.NewChain(v.staging, l)
	head, err := chain.HeadSeq(ctx)
	if errors.Is(err, ledger.ErrEmpty) {
		return nil
	}
	if err != nil {
		return err
	}
	for e, err := range chain.Entries(ctx, 0, head, v.cfg.AtOnce) {
		if e == nil {
			if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrCorrupt) {
				continue
			}
			return err
		}
		for i := range e.Files {
			f := &e.Files[i]
			for dest, keys := range found {
				key := delivery.ObjectKey(v.buckets.open[dest].Prefix, l, f)
				if _, suspect := keys[key]; !suspect {
					continue
				}
				delete(keys, key)
				if slices.Contains(f.Owed, dest) {
					continue
				}
				o := &file{walk: &walk{verifier: v, log: l, chain: chain}, e: e, f: f, ref: delivery.Ref(e, i)}
				again, err := o.replayed(ctx, dest)
				switch {
				case err == nil && len(again) == 0:
					v.report.problem(NotOwed, "s3://"+v.buckets.open[dest].Name+"/"+key, "%s is there, and owed to %s only", place(delivery.Ref(e, i)), orNobody(f.Owed))
				case err != nil:
					return err
				}
			}
		}
	}
	return nil
}

// accuse names what is left.
func (v *verifier) accuse(found suspects, ids map[string]ledger.Log) {
	for dest, keys := range found {
		for key := range keys {
			name := key[strings.LastIndexByte(key, '/')+1:]
			l, ok := ids[logID(name)]
			switch {
			case ok && !v.wants(l):
				v.report.destination(dest, func(d *Destination) { d.Elsewhere++ })
				continue
			case ok && v.damaged[l]:
				v.report.unread("s3://" + v.buckets.open[dest].Name + "/" + key + ": may be of an entry that cannot be read")
				continue
			}
			v.report.problem(ObjectForeign, "s3://"+v.buckets.open[dest].Name+"/"+key, "no file of the ledger is this object")
		}
	}
}

// logID is the part of a file's name that tells its log.
func logID(name string) string {
	part := strings.Split(name, ".")
	if len(part) < 2 {
		return ""
	}
	return part[1]
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
