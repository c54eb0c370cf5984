// Package replay is the operator's side of `sealift replay`: it gives orders, finds the files that
// an order covers by walking the ledger, rebuilds from Kafka those whose staged object is lost,
// enqueues their copy jobs at the ordered rate, and counts what became of them.
//
// It promises that nothing is enqueued that the order does not cover, that an interrupted order
// continues where it was, and that a file rebuilt from Kafka has exactly the lines that the ledger
// records, or is reported with the reason. It delivers nothing itself: copiers do, and they rely on
// the order and not on the job.
package replay

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// NewID returns an id for an order given now.
func NewID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return now.UTC().Format("20060102-150405-") + hex.EncodeToString(b[:])
}

// ReadHeads returns the newest entry of every partition, which bounds what an order given now can
// cover.
func ReadHeads(ctx context.Context, staging objstore.Store, topic, incarnation string) (map[int]int64, error) {
	logs, err := ledger.Logs(ctx, staging, topic, incarnation)
	if err != nil {
		return nil, err
	}
	heads := map[int]int64{}
	for _, l := range logs {
		if heads[l.Partition], err = ledger.NewChain(staging, l).HeadSeq(ctx); err != nil {
			return nil, err
		}
	}
	return heads, nil
}

// WriteOrder gives an order. It can be given only once: a second one with the same id is
// objstore.ErrExists.
func WriteOrder(ctx context.Context, staging objstore.Store, o *delivery.Order) error {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("give replay order %q: %w", o.ID, err)
	}
	if err := put(ctx, staging, delivery.OrderKey(o.ID), o.Encode(), true); err != nil {
		return fmt.Errorf("give replay order %q: %w", o.ID, err)
	}
	return nil
}

// ReadOrder returns the order of that id. The error is delivery.ErrBadOrder or
// the store's.
func ReadOrder(ctx context.Context, staging objstore.Store, id string) (*delivery.Order, error) {
	b, err := getOrder(ctx, staging, delivery.OrderKey(id))
	if err != nil {
		return nil, fmt.Errorf("read replay order %q: %w", id, err)
	}
	o, err := delivery.DecodeOrder(b)
	if err != nil {
		return nil, fmt.Errorf("read replay order %q: %w", id, err)
	}
	if o.ID != id {
		return nil, fmt.Errorf("read replay order %q: %w: it says that it is %q", id, delivery.ErrBadOrder, o.ID)
	}
	return o, nil
}

// ListIDs returns the ids of all replays of which anything is in staging, oldest first, with one
// request per replay.
func ListIDs(ctx context.Context, staging objstore.Store) ([]string, error) {
	var ids []string
	for after := ""; ; {
		infos, err := staging.List(ctx, delivery.ReplaysPrefix, after, 1)
		if err != nil {
			return nil, fmt.Errorf("list replays: %w", err)
		}
		if len(infos) == 0 {
			return ids, nil
		}
		id, ok := delivery.ParseReplayKey(infos[0].Key)
		if !ok { // a stray object
			after = infos[0].Key
			continue
		}
		ids = append(ids, id)
		after = delivery.ReplayPrefix(id) + "~" // after everything of this replay
	}
}

func put(ctx context.Context, staging objstore.Store, key string, body []byte, ifAbsent bool) error {
	_, err := staging.Put(ctx, key, bytes.NewReader(body), objstore.PutOptions{IfAbsent: ifAbsent, ContentType: "application/json"})
	return err
}

// maxOrderBytes bounds orders and plans.
const maxOrderBytes = 1 << 20 // 1 MiB

// getOrder reads an order or a plan. One that is too large is treated as malformed.
func getOrder(ctx context.Context, staging objstore.Store, key string) ([]byte, error) {
	b, err := objstore.Read(ctx, staging, key, maxOrderBytes)
	if errors.Is(err, objstore.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", delivery.ErrBadOrder, err)
	}
	return b, err
}
