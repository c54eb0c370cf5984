package auditor

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
)

func TestHintHazards(t *testing.T) {
	for hazard, body := range map[string]string{
		"not_json":        "hello",
		"former_version":  `{"version":1,"through":1,"collected":-1}`,
		"later_version":   `{"version":3,"through":1,"attempt":"a1","collected":-1}`,
		"ahead_of_ledger": `{"version":2,"through":99,"collected":5}`,
		"foreign":         `{"version":2,"through":1,"attempt":"b0","collected":-1}`,
		"negative":        `{"version":2,"through":-7}`,
		"contradictory":   `{"version":2,"through":0,"attempt":"a0","collected":1}`,
		"open_negative":   `{"version":2,"through":0,"attempt":"a0","collected":-1,"open":[-5,0]}`,
		"open_beyond":     `{"version":2,"through":0,"attempt":"a0","collected":-1,"open":[0,7]}`,
		"debt_not_open":   `{"version":2,"through":1,"attempt":"a1","collected":-1,"accounts":{"ws_a/one":{"debts":[[1,0,0,1,1]]}}}`,
		"debts_unsorted":  `{"version":2,"through":1,"attempt":"a1","collected":-1,"open":[0,1],"accounts":{"ws_a/one":{"debts":[[1,0,0,1,1],[0,0,0,1,1]]}}}`,
		"sum_negative":    `{"version":2,"through":1,"attempt":"a1","collected":-1,"accounts":{"ws_a/one":{"delivered":{"files":-1}}}}`,
		"no_account":      `{"version":2,"through":1,"attempt":"a1","collected":-1,"accounts":{"ws_a/one":null}}`,
		"seen_not_open":   `{"version":2,"through":0,"attempt":"a0","collected":-1,"seen":{"1":{"listing":"e3b0c44298fc1c149afbf4c8996fb924"}}}`, // the digest of no receipts
		"seen_another":    `{"version":2,"through":1,"attempt":"a1","collected":-1,"open":[1],"seen":{"1":{"listing":"x"}}}`,
		"counts_nothing":  `{"version":2,"through":-1,"collected":-1,"accounts":{"ws_a/one":{"delivered":{"files":1}}}}`,
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t, nil)
			r.seal(log0, time.Hour, []string{one}, "a")
			r.stage(hintKey(log0), body)
			require.EqualValues(t, 1, r.audit().Enqueued)
		})
	}
	t.Run("lost", func(t *testing.T) {
		r := newRig(t, nil)
		e := r.seal(log0, 48*time.Hour, []string{one}, "a")
		r.audit()
		r.deliver(e, 0, one)
		require.NoError(t, r.staging.Delete(t.Context(), hintKey(log0)))
		require.EqualValues(t, 1, r.audit().Delivered)
	})
	// A hint that claims too much may delay a job, but never deletes a file that is still owed.
	t.Run("lies", func(t *testing.T) {
		r := newRig(t, nil)
		e := r.seal(log0, 48*time.Hour, []string{one}, "a")
		r.stage(hintKey(log0), `{"version":2,"through":1,"attempt":"a1","collected":-1}`)
		require.EqualValues(t, 1, r.audit().Enqueued, "a debt in a closed entry was not enqueued")
		require.Equal(t, 1, r.stagedFiles(e))
		r.stage(hintKey(log0), `{"version":2,"through":1,"attempt":"a1","collected":1}`)
		r.audit()
		require.Equal(t, 1, r.stagedFiles(e))
	})
	t.Run("receipt_gone", func(t *testing.T) {
		r := newRig(t, nil)
		e := r.seal(log0, time.Hour, []string{one}, "a", "b")
		r.deliver(e, 0, one)
		r.audit()
		require.NoError(t, r.staging.Delete(t.Context(), delivery.ReceiptKey(delivery.Ref(e, 0), one)))
		r.jobs.take()
		report := r.audit()
		require.EqualValues(t, 1, report.Enqueued)
		require.Zero(t, report.Delivered)
		require.Zero(t, r.storedHint(log0).Accounts[one].Delivered)
	})
}

func FuzzDecodeHint(f *testing.F) {
	f.Add([]byte(`{"version":2,"through":41,"attempt":"x","open":[3,17],"collected":16,"orphans":1795357812345,"accounts":{"a/b":{"debts":[[3,0,1,2,3]]}}}`))
	f.Add([]byte(`{"version":2,"through":3,"attempt":"x","open":[2],"collected":2,"swept":{"2":7},"seen":{"2":{"listing":"y","kept":8}}}`))
	f.Add([]byte(`{"version":2,"through":-1,"open":[0],"collected":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := decodeHint(b)
		again, err := json.Marshal(h)
		require.NoError(t, err)
		require.True(t, h.equal(decodeHint(again)), string(again))
		third, err := json.Marshal(decodeHint(again))
		require.NoError(t, err)
		require.Equal(t, string(again), string(third))
		for _, seq := range h.Open {
			require.True(t, 0 <= seq && seq <= h.Through)
		}
	})
}
