package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/receipt"
)

// deliveryTimeout is how long to wait without any delivery before giving up with an error.
const deliveryTimeout = 2 * time.Minute

// awaitDelivered returns when every file that the ledger owes has a receipt.
func (d *demonstration) awaitDelivered(ctx context.Context) error {
	w := &debts{staging: d.staging, topic: d.cfg.Kafka.EventsTopic, incarnation: d.cfg.Kafka.Incarnation, next: map[ledger.Log]int64{}, open: map[ledger.EntryRef][]receipt.Pair{}}
	bar := progress.Start(d.errOut, "delivering", 0, progress.Count)
	defer bar.Finish()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		before := w.closed
		added, err := w.refresh(ctx)
		if err != nil {
			return err
		}
		bar.Grow(added)
		bar.Add(w.closed - before)
		if w.owed == w.closed {
			return nil
		}
		if w.closed > before {
			last = time.Now()
		}
		if time.Since(last) > deliveryTimeout {
			return fmt.Errorf("%s not delivered, and none was in %v: the log says why", progress.Plural(w.owed-w.closed, "file"), deliveryTimeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// debts is what the ledger owes, as of the last refresh.
type debts struct {
	staging            objstore.Store
	topic, incarnation string
	next               map[ledger.Log]int64               // number of the first entry that was not read yet
	open               map[ledger.EntryRef][]receipt.Pair // what had no receipt yet; no entry without any
	owed, closed       int64                              // files at destinations: all, and those with a receipt
}

// refresh reads new entries, and the receipts of those with open debts. It returns the number of
// new debts.
func (w *debts) refresh(ctx context.Context) (added int64, err error) {
	before := w.owed
	logs, err := ledger.Logs(ctx, w.staging, w.topic, w.incarnation)
	if err != nil {
		return 0, err
	}
	for _, log := range logs {
		chain := ledger.NewChain(w.staging, log)
		head, err := chain.HeadSeq(ctx)
		if err != nil {
			return 0, err
		}
		for ; w.next[log] <= head; w.next[log]++ {
			e, err := chain.Entry(ctx, w.next[log])
			if err != nil {
				return 0, err
			}
			ref := ledger.EntryRef{Log: log, Seq: e.Seq}
			for i := range e.Files {
				for _, to := range e.Files[i].Owed {
					w.open[ref] = append(w.open[ref], receipt.Pair{Index: i, Destination: to})
					w.owed++
				}
			}
		}
	}
	for e, pairs := range w.open {
		receipts, err := receipt.List(ctx, w.staging, e.Log, e.Seq)
		if err != nil {
			return 0, err
		}
		left := slices.DeleteFunc(pairs, func(p receipt.Pair) bool { _, closed := receipts[p]; return closed })
		w.closed += int64(len(pairs) - len(left))
		if w.open[e] = left; len(left) == 0 {
			delete(w.open, e)
		}
	}
	return w.owed - before, nil
}
