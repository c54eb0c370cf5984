package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
)

// patience is how long to wait without any delivery before giving up with an error.
const patience = 2 * time.Minute

// awaitDelivered returns when every file that the ledger owes has a receipt.
func (d *demonstration) awaitDelivered(ctx context.Context) error {
	w := &debts{staging: d.staging, topic: d.cfg.Kafka.EventsTopic, incarnation: d.cfg.Kafka.Incarnation, next: map[ledger.Log]int64{}}
	bar := progress.Start(d.errOut, "delivering", 0, progress.Count)
	defer bar.Finish()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		before := w.closed
		added, err := w.look(ctx)
		if err != nil {
			return err
		}
		bar.Grow(added)
		bar.Add(w.closed - before)
		if len(w.open) == 0 {
			return nil
		}
		if w.closed > before {
			last = time.Now()
		}
		if time.Since(last) > patience {
			return fmt.Errorf("%s not delivered, and none was in %v: the log says why", progress.Plural(int64(len(w.open)), "file"), patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// debts is what the ledger owes, as of the last look.
type debts struct {
	staging            objstore.Store
	topic, incarnation string
	next               map[ledger.Log]int64 // number of the first entry that was not read yet
	open               []debt
	closed             int64
}

// debt is one file that is owed to one destination.
type debt struct {
	file        delivery.FileRef
	destination string
}

// look reads new entries, and the receipts of open debts. It returns the number of new debts.
func (w *debts) look(ctx context.Context) (added int64, err error) {
	logs, err := ledger.Logs(ctx, w.staging, w.topic, w.incarnation)
	if err != nil {
		return 0, err
	}
	for _, log := range logs {
		chain := ledger.NewChain(w.staging, log)
		head, err := chain.HeadSeq(ctx)
		if err != nil {
			return added, err
		}
		for ; w.next[log] <= head; w.next[log]++ {
			e, err := chain.Entry(ctx, w.next[log])
			if err != nil {
				return added, err
			}
			for i := range e.Files {
				for _, to := range e.Files[i].Owed {
					w.open = append(w.open, debt{delivery.Ref(e, i), to})
					added++
				}
			}
		}
	}
	var open []debt
	for _, o := range w.open {
		switch _, err := w.staging.Head(ctx, delivery.ReceiptKey(o.file, o.destination)); {
		case err == nil:
			w.closed++
		case errors.Is(err, objstore.ErrNotFound):
			open = append(open, o)
		default:
			return added, err
		}
	}
	w.open = open
	return added, nil
}
