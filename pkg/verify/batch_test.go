package verify

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

// batchFixture is an entry whose three files were delivered to one destination, with no receipts
// yet.
type batchFixture struct {
	*testing.T
	staging, bucket *objstore.Memory
	e               *ledger.Entry
}

func newBatchFixture(t *testing.T) *batchFixture {
	b := &batchFixture{T: t, staging: objstore.NewMemory("staging"), bucket: objstore.NewMemory("logs")}
	head := ledgertest.Append(t, b.staging, ledgertest.Init(testLog, time.Now()))
	b.e = ledgertest.Append(t, b.staging, ledgertest.Next(head, fileInHour(0, "a", 0, 4), fileInHour(1, "a", 5, 9), fileInHour(2, "a", 10, 14)))
	for i := range b.e.Files {
		f := &b.e.Files[i]
		ledgertest.Put(t, b.staging, f.StagedKey, []byte("12345"))
		_, err := b.bucket.Put(t.Context(), delivery.ObjectKey("", testLog, f), strings.NewReader("12345"),
			objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip", Metadata: delivery.ObjectMetadata(testLog, f)})
		require.NoError(t, err)
	}
	return b
}

// receipt returns the true receipt of a file.
func (b *batchFixture) receipt(i int) delivery.Receipt {
	f := &b.e.Files[i]
	return delivery.Receipt{
		File: delivery.Ref(b.e, i), Destination: "ws/a", Outcome: delivery.Delivered, Bucket: "logs", Key: delivery.ObjectKey("", testLog, f), SHA256: f.SHA256, Bytes: 5, Records: 5, At: hour0,
	}
}

// putReceipt stores a receipt as an object of its own.
func (b *batchFixture) putReceipt(r delivery.Receipt) string {
	ledgertest.Put(b, b.staging, delivery.ReceiptKey(r.File, r.Destination), r.Encode())
	return delivery.ReceiptKey(r.File, r.Destination)
}

// putBatch stores receipts, and texts as they are, as a batch.
func (b *batchFixture) putBatch(lines ...any) string {
	var body []byte
	for _, line := range lines {
		if r, ok := line.(delivery.Receipt); ok {
			body = append(body, r.Encode()...)
		} else {
			body = append(body, fmt.Sprintln(line)...)
		}
	}
	key := delivery.BatchKey(testLog, b.e.Seq, body)
	ledgertest.Put(b, b.staging, key, body)
	return key
}

func (b *batchFixture) verify(change func(*Config)) *Report {
	cfg := Config{Topic: "events", Partition: -1}
	if change != nil {
		change(&cfg)
	}
	r, err := Verify(b.Context(), cfg, Deps{Staging: b.staging, Bucket: func(context.Context, string) (Bucket, error) {
		return Bucket{Store: b.bucket, Name: "logs"}, nil
	}})
	require.NoError(b, err)
	return r
}

// Receipts in batches are worth as much as those that are objects of their own. A debt is counted
// once, and so is its object, but each of its receipts has to be true. Each bad line is reported.
func TestReceiptsInBatches(t *testing.T) {
	for hazard, c := range map[string]struct {
		store  func(b *batchFixture) (bad string)
		counts [5]int64 // closed, delivered, given up, objects, and all that are owed and open
		wrong  []string // what is said about the bad key
	}{
		"one_batch": {
			store:  func(b *batchFixture) string { b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2)); return "" },
			counts: [5]int64{3, 3, 0, 3, 0},
		},
		"one_receipt_by_itself": {
			store: func(b *batchFixture) string {
				b.putBatch(b.receipt(0), b.receipt(1))
				b.putReceipt(b.receipt(2))
				return ""
			},
			counts: [5]int64{3, 3, 0, 3, 0},
		},
		"in_two_batches": {
			store: func(b *batchFixture) string {
				b.putBatch(b.receipt(0), b.receipt(1))
				b.putBatch(b.receipt(1), b.receipt(2))
				return ""
			},
			counts: [5]int64{3, 3, 0, 3, 0},
		},
		"in_a_batch_and_by_itself": {
			store: func(b *batchFixture) string {
				b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
				b.putReceipt(b.receipt(1))
				return ""
			},
			counts: [5]int64{3, 3, 0, 3, 0},
		},
		"in_a_batch_and_given_up": {
			store: func(b *batchFixture) string {
				b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
				b.putReceipt(delivery.Receipt{File: delivery.Ref(b.e, 1), Destination: "ws/a", Outcome: delivery.Skipped})
				return ""
			},
			counts: [5]int64{3, 3, 0, 3, 0},
		},
		"receipt_by_itself_is_wrong": {
			store: func(b *batchFixture) string {
				b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
				r := b.receipt(1)
				r.SHA256 = strings.Repeat("0", 64)
				return b.putReceipt(r)
			},
			counts: [5]int64{3, 3, 0, 3, 0},
			wrong:  []string{"it is of 5 records in 5 bytes with sha256 0000"},
		},
		"receipt_is_wrong_in_one_of_two_batches": {
			store: func(b *batchFixture) string {
				r := b.receipt(1)
				r.Key = "elsewhere"
				b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
				return b.putBatch(r, b.receipt(2))
			},
			counts: [5]int64{3, 3, 0, -1, 0}, // either may be the one whose object is looked up
			wrong:  []string{`its object is "elsewhere"`},
		},
		"receipt_in_the_batch_is_wrong": {
			store: func(b *batchFixture) string {
				r := b.receipt(1)
				r.Records++
				return b.putBatch(b.receipt(0), r, b.receipt(2))
			},
			counts: [5]int64{3, 3, 0, 2, 0},
			wrong:  []string{"it is of 6 records"},
		},
		"two_bad_lines": {
			store:  func(b *batchFixture) string { return b.putBatch(b.receipt(0), "hello", b.receipt(1), "{}") },
			counts: [5]int64{2, 2, 0, 2, 1},
			wrong:  []string{"line 2: ", "line 4: "},
		},
		"a_bad_line_and_a_receipt_by_itself": {
			store: func(b *batchFixture) string {
				b.putReceipt(b.receipt(2))
				return b.putBatch(b.receipt(0), b.receipt(1), "hello")
			},
			counts: [5]int64{3, 3, 0, 3, 0},
			wrong:  []string{"line 3: "},
		},
		"a_line_of_another_entry": {
			store: func(b *batchFixture) string {
				r := b.receipt(1)
				r.File.Seq++
				return b.putBatch(b.receipt(0), r, b.receipt(2))
			},
			counts: [5]int64{2, 2, 0, 2, 1},
			wrong:  []string{"line 2: malformed receipt: it is of events/1/00003/2/1"},
		},
		"a_line_that_gives_up": {
			store: func(b *batchFixture) string {
				r := b.receipt(1)
				r.Outcome = delivery.Skipped
				return b.putBatch(b.receipt(0), r, b.receipt(2))
			},
			counts: [5]int64{2, 2, 0, 2, 1},
			wrong:  []string{`line 2: malformed receipt: outcome "skipped"`},
		},
		"a_line_of_a_missing_file": {
			store: func(b *batchFixture) string {
				r := b.receipt(1)
				r.File.Index = 7
				return b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2), r)
			},
			counts: [5]int64{3, 3, 0, 3, 0},
			wrong:  []string{"the entry has 3 files, it is of file 7"},
		},
		"a_changed_line": {
			store: func(b *batchFixture) string {
				key := b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
				r := b.receipt(1)
				r.Worker = "c"
				ledgertest.Put(b, b.staging, key, delivery.EncodeBatch([]delivery.Receipt{b.receipt(0), r, b.receipt(2)}))
				return key
			},
			counts: [5]int64{3, 3, 0, 3, 0},
			wrong:  []string{"its bytes are not those that its key names"},
		},
		"an_empty_batch": {
			store: func(b *batchFixture) string {
				b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
				return b.putBatch()
			},
			counts: [5]int64{3, 3, 0, 3, 0},
			wrong:  []string{"empty"},
		},
		"a_batch_deleted_after_it_was_listed": {
			store: func(b *batchFixture) string {
				b.putReceipt(b.receipt(0))
				key := b.putBatch(b.receipt(1), b.receipt(2))
				b.failGet(key, objstore.ErrNotFound)
				return key
			},
			counts: [5]int64{1, 1, 0, 1, 2},
			wrong:  []string{"it is listed, and not there"},
		},
		"a_malformed_batch_key": {
			store: func(b *batchFixture) string {
				b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
				key := delivery.BatchPrefix(testLog, 1) + "0.json"
				ledgertest.Put(b, b.staging, key, b.receipt(0).Encode())
				return key
			},
			counts: [5]int64{3, 3, 0, 3, 0},
			wrong:  []string{"is no receipt's key"},
		},
		"a_batch_of_a_missing_entry": {
			store: func(b *batchFixture) string {
				b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
				key := delivery.BatchKey(testLog, 2, nil)
				ledgertest.Put(b, b.staging, key, b.receipt(0).Encode())
				return key
			},
			counts: [5]int64{3, 3, 0, 3, 0},
			wrong:  []string{"it is of no entry of the ledger"},
		},
		"a_batch_of_an_entry_without_files": {
			store: func(b *batchFixture) string {
				b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
				r := b.receipt(0)
				r.File.Seq = 0
				key := delivery.BatchKey(testLog, 0, r.Encode())
				ledgertest.Put(b, b.staging, key, r.Encode())
				return key
			},
			counts: [5]int64{3, 3, 0, 3, 0},
			wrong:  []string{"the entry has 0 files"},
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			b := newBatchFixture(t)
			bad := c.store(b)
			r := b.verify(nil)
			d := r.Destinations[0]
			if c.counts[3] < 0 {
				c.counts[3] = d.Objects
			}
			got := [5]int64{r.Closed, r.Receipts.Delivered, r.Receipts.Skipped, d.Objects, d.Owed - d.Closed}
			require.Equal(t, c.counts, got, "%v", r.Examples)
			require.Empty(t, r.Unread)
			require.Len(t, r.Examples, len(c.wrong), "%v", r.Examples)
			for i, p := range r.Examples {
				require.Equal(t, BadReceipt, p.Kind)
				require.Equal(t, bad, p.Where)
				require.Contains(t, p.What, c.wrong[i])
			}
		})
	}
}

func (b *batchFixture) failGet(key string, err error) {
	b.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && op.Key == key {
			return objstore.Fault{Before: err}
		}
		return objstore.Fault{}
	})
}

// If a batch cannot be read, it is not known which debts are open: none is called a problem, and
// what else was found counts.
func TestUnreadableBatchLeavesDebtsUnknown(t *testing.T) {
	b := newBatchFixture(t)
	b.putReceipt(b.receipt(0))
	key := b.putBatch(b.receipt(1), b.receipt(2))
	require.NoError(t, b.staging.Delete(t.Context(), b.e.Files[1].StagedKey))
	b.failGet(key, objstore.ErrInvalid) // an error that is not retried
	r := b.verify(func(c *Config) { c.Overdue, c.Retain = time.Nanosecond, time.Nanosecond })
	require.True(t, r.OK(), "%v", r.Examples)
	require.Len(t, r.Unread, 1)
	require.Contains(t, r.Unread[0], testLog.String()+" entry 1: ")
	require.EqualValues(t, 1, r.Closed)
	require.EqualValues(t, 2, r.Pending)
}

// Each batch is read once, whatever is limited, and an old debt costs one more listing of its entry.
func TestEachBatchIsReadOnce(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		open   bool
		reads  int64
	}{
		"all":              {reads: 1},
		"another_source":   {change: func(c *Config) { c.Source = "x" }, reads: 1},
		"three_open_debts": {change: func(c *Config) { c.Overdue = time.Nanosecond }, open: true, reads: 2},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBatchFixture(t)
			key := b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
			if c.open {
				require.NoError(t, b.staging.Delete(t.Context(), key))
				key = b.putBatch("no receipt")
			}
			var reads atomic.Int64
			b.staging.SetFault(func(op objstore.Op) objstore.Fault {
				if op.Name == "get" && op.Key == key {
					reads.Add(1)
				}
				return objstore.Fault{}
			})
			r := b.verify(c.change)
			require.Equal(t, c.reads, reads.Load())
			if c.open {
				require.Equal(t, map[Kind]int64{BadReceipt: 1, Debt: 3}, r.ByKind)
			} else {
				require.True(t, r.OK(), "%v", r.Examples)
			}
		})
	}
}

// A debt that has a receipt in a batch is not checked again for a replay.
func TestReplayOfBatchedReceiptIsNotCheckedAgain(t *testing.T) {
	b := newBatchFixture(t)
	b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
	order := delivery.Order{ID: "r", Topic: "events", Incarnation: "1", Heads: map[int]int64{testLog.Partition: 1}, From: delivery.FromAuto}
	ledgertest.Put(t, b.staging, delivery.OrderKey(order.ID), order.Encode())
	r := b.receipt(1)
	r.Replay = order.ID
	ledgertest.Put(t, b.staging, delivery.ReplayReceiptKey(order.ID, r.File, "ws/a"), r.Encode())
	report := b.verify(nil)
	require.True(t, report.OK(), "%v", report.Examples)
	d := report.Destinations[0]
	require.Equal(t, [3]int64{1, 0, 3}, [3]int64{report.Receipts.Replayed, d.Replayed, d.Objects})
}

// A replay's receipt that is not one is a problem of its own, and does not end the run.
func TestBadReceiptsOfReplaysAreReported(t *testing.T) {
	for hazard, body := range map[string][]byte{"garbled": []byte("{"), "endless": make([]byte, 2<<20)} {
		t.Run(hazard, func(t *testing.T) {
			b := newBatchFixture(t)
			b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2))
			order := delivery.Order{ID: "r", Topic: "events", Incarnation: "1", Heads: map[int]int64{testLog.Partition: 1}, From: delivery.FromAuto}
			ledgertest.Put(t, b.staging, delivery.OrderKey(order.ID), order.Encode())
			ledgertest.Put(t, b.staging, delivery.ReplayReceiptKey(order.ID, b.receipt(1).File, "ws/a"), body)
			require.Equal(t, map[Kind]int64{BadReceipt: 1}, b.verify(nil).ByKind)
		})
	}
}

// Staged files may be gone once their debts are closed in batches, even in one that came after the
// receipts were listed.
func TestStagedFilesMayBeGoneOnceBatchesCloseDebts(t *testing.T) {
	for hazard, meanwhile := range map[string]bool{"before": false, "meanwhile": true} {
		t.Run(hazard, func(t *testing.T) {
			b := newBatchFixture(t)
			b.putBatch(b.receipt(0), b.receipt(2))
			store := func(int64) { b.putBatch(b.receipt(1), b.receipt(2)) }
			require.NoError(t, b.staging.Delete(t.Context(), b.e.Files[1].StagedKey))
			deps := Deps{Staging: b.staging}
			if meanwhile {
				deps.OnDone = store
			} else {
				store(0)
			}
			r, err := Verify(t.Context(), Config{Topic: "events", Partition: -1, Retain: time.Nanosecond}, deps)
			require.NoError(t, err)
			require.True(t, r.OK(), "%v", r.Examples)
			require.EqualValues(t, 1, r.Staged.Collected)
		})
	}
}

// However many batches an entry has, no more requests are made for them at once than checks are.
func TestConcurrencyHoldsForBatches(t *testing.T) {
	for name, read := range map[string]func(ctx context.Context, cfg Config, deps Deps) error{
		"verify": func(ctx context.Context, cfg Config, deps Deps) error { _, err := Verify(ctx, cfg, deps); return err },
		"completeness": func(ctx context.Context, cfg Config, deps Deps) error {
			_, err := ReadCompleteness(ctx, cfg, deps, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBatchFixture(t)
			for n := range 20 {
				r := b.receipt(n % 3)
				r.At += int64(n)
				b.putBatch(r)
			}
			var now, peak atomic.Int32
			busy := objstoretest.Before{Store: b.staging, Do: func(_ context.Context, op, key string) error {
				if op == "get" && strings.HasPrefix(key, "receipts/") {
					peak.Store(max(peak.Load(), now.Add(1)))
					for range 1000 {
						runtime.Gosched()
					}
					now.Add(-1)
				}
				return nil
			}}
			require.NoError(t, read(t.Context(), Config{Topic: "events", Partition: -1, Concurrency: 3}, Deps{Staging: busy}))
			require.Positive(t, peak.Load())
			require.LessOrEqual(t, peak.Load(), int32(3))
		})
	}
}

// What hours lack does not depend on where the receipts are.
func TestCompletenessCountsReceiptsInBatches(t *testing.T) {
	gaveUp := func(b *batchFixture, i int) {
		b.putReceipt(delivery.Receipt{File: delivery.Ref(b.e, i), Destination: "ws/a", Outcome: delivery.Skipped})
	}
	for hazard, c := range map[string]struct {
		store                    func(b *batchFixture)
		delivered, givenUp, gets int64
	}{
		"one_batch":                {func(b *batchFixture) { b.putBatch(b.receipt(0), b.receipt(1), b.receipt(2)) }, 3, 0, 1},
		"by_itself":                {func(b *batchFixture) { b.putReceipt(b.receipt(0)); b.putBatch(b.receipt(1), b.receipt(2)) }, 3, 0, 1},
		"in_a_batch_and_by_itself": {func(b *batchFixture) { b.putReceipt(b.receipt(0)); b.putBatch(b.receipt(0), b.receipt(1)) }, 2, 0, 1},
		"in_a_batch_and_given_up":  {func(b *batchFixture) { gaveUp(b, 0); b.putBatch(b.receipt(0), b.receipt(1)); gaveUp(b, 2) }, 2, 1, 2},
		"a_bad_line":               {func(b *batchFixture) { b.putBatch(b.receipt(0), "hello", b.receipt(2)) }, 2, 0, 1},
	} {
		t.Run(hazard, func(t *testing.T) {
			b := newBatchFixture(t)
			c.store(b)
			var gets atomic.Int64
			b.staging.SetFault(func(op objstore.Op) objstore.Fault {
				if op.Name == "get" && strings.HasPrefix(op.Key, "receipts/") {
					gets.Add(1)
				}
				return objstore.Fault{}
			})
			r, err := ReadCompleteness(t.Context(), Config{Topic: "events"}, Deps{Staging: b.staging}, nil)
			require.NoError(t, err)
			var sum HourDelivery
			for _, h := range r.Hours {
				d := h.Destinations[0]
				sum.Owed, sum.Delivered, sum.GivenUp = sum.Owed+d.Owed, sum.Delivered+d.Delivered, sum.GivenUp+d.GivenUp
			}
			require.Equal(t, HourDelivery{Owed: 3, Delivered: c.delivered, GivenUp: c.givenUp}, sum)
			require.Equal(t, c.gets, gets.Load(), "each batch and each receipt too short to name an object is read once")
		})
	}
}
