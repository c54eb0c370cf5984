package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/objstore"
)

// bookFile, bookEntry and bookReceipt restate what the judge needs of schemas/ledger.md and
// schemas/delivery.md, instead of importing it from what it judges.
type bookFile struct {
	Source    string   `json:"source"`
	Hour      int64    `json:"hour"`
	First     int64    `json:"first"`
	Last      int64    `json:"last"`
	Records   int64    `json:"records"`
	StagedKey string   `json:"staged_key"`
	Owed      []string `json:"owed"`
}

type bookEntry struct {
	Seq          int64            `json:"seq"`
	Kind         string           `json:"kind"`
	Owner        string           `json:"owner"`
	WrittenAt    int64            `json:"written_at"`
	Files        []bookFile       `json:"files"`
	Skipped      map[string]int64 `json:"skipped"`
	LowWatermark int64            `json:"low_watermark"`

	DispatchedThrough int64 `json:"dispatched_through"`
}

type bookReceipt struct {
	File struct {
		Partition int32 `json:"partition"`
		Seq       int64 `json:"seq"`
		Index     int   `json:"index"`
	} `json:"file"`
	Destination string `json:"destination"`
	Outcome     string `json:"outcome"`
	Bucket      string `json:"bucket"`
}

// books are the ledger and the receipts of a staging bucket, read incrementally.
type books struct {
	staging  objstore.Store
	topic    string
	chains   map[int32]map[int64]*bookEntry // by partition and seq
	receipts map[string]bookReceipt         // by receiptKey; of several, one that says delivered
	objects  map[string]bool                // keys of those that hold receipts
}

func newBooks(staging objstore.Store, topic string) *books {
	return &books{staging: staging, topic: topic, chains: map[int32]map[int64]*bookEntry{}, receipts: map[string]bookReceipt{}, objects: map[string]bool{}}
}

// read reads what is new, with 16 requests at a time: an hour leaves some 70,000 objects.
func (b *books) read(ctx context.Context) error {
	fresh := map[string]func(*json.Decoder) error{} // by key, what decodes it
	prefix := "ledger/" + b.topic + "/1/"
	for info, err := range objstore.All(ctx, b.staging, prefix) {
		if err != nil {
			return err
		}
		partition, name, _ := strings.Cut(strings.TrimPrefix(info.Key, prefix), "/")
		p, err1 := strconv.ParseInt(partition, 10, 32)
		n, err2 := strconv.ParseInt(strings.TrimSuffix(name, ".json"), 10, 64)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("a key that no ledger has: %q", info.Key)
		}
		chain := b.chains[int32(p)]
		if chain == nil {
			chain = map[int64]*bookEntry{}
			b.chains[int32(p)] = chain
		}
		if seq := math.MaxInt64 - n; chain[seq] == nil {
			e := new(bookEntry)
			chain[seq] = e
			fresh[info.Key] = func(d *json.Decoder) error { return d.Decode(e) }
		}
	}
	var (
		mu       sync.Mutex // guards receipts
		receipts []bookReceipt
	)
	for info, err := range objstore.All(ctx, b.staging, "receipts/") {
		if err != nil {
			return err
		}
		if !b.objects[info.Key] {
			b.objects[info.Key] = true
			fresh[info.Key] = func(d *json.Decoder) error {
				for d.More() { // a batch holds several
					var r bookReceipt
					if err := d.Decode(&r); err != nil {
						return err
					}
					mu.Lock()
					receipts = append(receipts, r)
					mu.Unlock()
				}
				return nil
			}
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for key, decode := range fresh {
		group.Go(func() error { return fetch(gctx, b.staging, key, decode) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, r := range receipts {
		key := b.receiptKey(r.File.Partition, r.File.Seq, r.File.Index, r.Destination)
		if b.receipts[key].Outcome != "delivered" {
			b.receipts[key] = r
		}
	}
	for p, chain := range b.chains {
		for seq, e := range chain {
			if e.Seq != seq {
				return fmt.Errorf("entry %d of partition %d says that it is number %d", seq, p, e.Seq)
			}
		}
	}
	return nil
}

// head returns the newest entry of a partition, or nil if it has none.
func (b *books) head(p int32) *bookEntry { return b.chains[p][int64(len(b.chains[p]))-1] }

// notSealedUpTo returns the partitions that are not sealed up to these ends.
func (b *books) notSealedUpTo(ends map[int32]int64) (partitions []int32) {
	for p, end := range ends {
		if head := b.head(p); end > 0 && (head == nil || head.LowWatermark < end) {
			partitions = append(partitions, p)
		}
	}
	return partitions
}

// receiptKey returns the key that a debt's receipt has if it is not in a batch.
func (b *books) receiptKey(p int32, seq int64, index int, destination string) string {
	return fmt.Sprintf("receipts/%s/1/%05d/%019d/%05d/%s.json", b.topic, p, seq, index, destination)
}

// countDebts counts all debts, and those without a receipt.
func (b *books) countDebts() (owed, open int) {
	for p, chain := range b.chains {
		for seq, e := range chain {
			for i, f := range e.Files {
				for _, d := range f.Owed {
					owed++
					if _, closed := b.receipts[b.receiptKey(p, seq, i, d)]; !closed {
						open++
					}
				}
			}
		}
	}
	return owed, open
}

func fetch(ctx context.Context, from objstore.Store, key string, decode func(*json.Decoder) error) error {
	body, _, err := from.Get(ctx, key)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := decode(json.NewDecoder(body)); err != nil {
		return fmt.Errorf("object %q: %w", key, err)
	}
	return nil
}
