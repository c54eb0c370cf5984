package verify

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// maxSuspects bounds how many objects are held against the ledger by name.
const maxSuspects = 1_000_000

// suspects are objects in buckets that may be in no ledger, or another's: those
// of folders that hold another number of objects than were found by their
// receipts.
type suspects map[string]map[string]time.Time // by destination, keys, with when they were put

// foreign looks for objects that no file of the ledger accounts for. Every
// receipt's object was found, so a folder with as many objects holds no others;
// only of the rest the names are compared.
func (v *verifier) foreign(ctx context.Context, logs []ledger.Log) error {
	found := suspects{}
	n := 0
	present := map[site]map[folder]int64{} // by receipts of the destination there that has most
	for _, b := range v.buckets.open {
		if present[b.site()] == nil {
			present[b.site()] = map[folder]int64{}
		}
		for f, n := range b.present {
			present[b.site()][f] = max(n, present[b.site()][f])
		}
	}
	for _, b := range v.buckets.open {
		if b.closed {
			continue
		}
		keys := map[string]time.Time{}
		err := v.listBucket(ctx, b, present[b.site()], func(inFolder []objstore.Info) {
			if n += len(inFolder); n > maxSuspects {
				v.report.unread(b.id + ": too many objects that have no receipt, only some are named")
				return
			}
			for _, info := range inFolder {
				keys[info.Key] = info.LastModified
			}
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.report.unread("s3://" + b.Name + "/" + b.root() + ": what else lies there: " + err.Error())
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

// listBucket lists what lies below segment-logs/ of our sources, whoever they
// are owed to, and tells of the folders whose number of objects is not the
// expected one.
func (v *verifier) listBucket(ctx context.Context, b *bucket, present map[folder]int64, odd func([]objstore.Info)) error {
	var (
		at    folder
		infos []objstore.Info
	)
	end := func() {
		if int64(len(infos)) != present[at] {
			odd(infos)
		}
		infos = nil
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
		if !ours || v.sources[f.source] == nil {
			continue // of others, who may write there
		}
		v.report.destination(b.id, func(d *Destination) { d.Listed++ })
		if f != at {
			end()
			at = f
		}
		infos = append(infos, info)
	}
	end()
	return nil
}

// folderOf reads {source}/{day}/…; a day that is none is -1.
func folderOf(key string) (folder, bool) {
	source, rest, ok := strings.Cut(key, "/")
	day, _, _ := strings.Cut(rest, "/")
	ms, err := strconv.ParseInt(day, 10, 64)
	if err != nil || strconv.FormatInt(ms, 10) != day { // 01 is another folder than 1
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
				b := v.buckets.get(ctx, dest)
				key := delivery.ObjectKey(b.Prefix, l, f)
				put, suspect := keys[key]
				if !suspect {
					continue
				}
				delete(keys, key)
				o := &file{walk: &walk{verifier: v, log: l, chain: chain}, e: e, f: f, ref: delivery.Ref(e, i)}
				due, err := o.due(ctx, b, key)
				replayed, perhaps := v.mayBeOf(f.Source, dest), ""
				if replayed {
					perhaps = retainRaised
				}
				switch {
				case err != nil:
					return err
				case due:
				case replayed && v.outlived(put):
					v.report.destination(dest, func(d *Destination) { d.Past++ })
				default:
					v.report.problem(NotOwed, "s3://"+b.Name+"/"+key, "%s is there, and owed to %s only%s", place(o.ref), orNobody(f.Owed), perhaps)
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
