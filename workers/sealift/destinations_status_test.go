package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/goldentest"
	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/workers/auditor"
)

func TestDestinationsStatusIsPrinted(t *testing.T) {
	at := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	row := func(id, state string, delivered, pending, parked auditor.Sum, c meter.Counts) destinationRow {
		d := auditor.DestinationStatus{ID: id, State: state, Delivered: delivered, Pending: pending, Parked: parked,
			NewestDelivered: at.Add(-62 * time.Minute), LastDelivery: at.Add(-time.Minute)}
		return destinationRow{DestinationStatus: d, Requests: c, Cost: c.Cost()}
	}
	owes := func(r destinationRow, age time.Duration) destinationRow {
		r.OldestOwed, r.OldestOwedAge = at.Add(-age), age.Seconds()
		return r
	}
	denied := owes(row("ws_7Qm2Zc9LkTRpV4xWnBsD0a/archive", "enabled", auditor.Sum{Files: 12, Records: 40_123, Bytes: 1_200_000}, auditor.Sum{Files: 1, Records: 7, Bytes: 70},
		auditor.Sum{Files: 3, Records: 9, Bytes: 90}, meter.Counts{Puts: 41, AssumeRoles: 4}), 27*time.Hour)
	denied.LastError, denied.Failing = &lastError{Reason: "put_denied", Cause: `s3:PutObject into bucket "archive" is denied`, Fix: "let the role's policy allow s3:PutObject",
		Since: at.Add(-26 * time.Hour), At: at.Add(-5 * time.Minute), Retry: at.Add(90 * time.Second)}, true
	recovered := owes(row("ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod", "enabled", auditor.Sum{Files: 1_234_567, Records: 9_876_543_210, Bytes: 3_210_000_000_000},
		auditor.Sum{Files: 2, Records: 2, Bytes: 2}, auditor.Sum{}, meter.Counts{Puts: 1_240_000, DataKeys: 1_234_000, AssumeRoles: 9000, StagingReads: 2_500_000, StagingWrites: 1_240_000}), 64*time.Minute)
	recovered.GivenUp = auditor.Sum{Files: 1_200, Records: 9_000, Bytes: 90_000}
	recovered.LastError = &lastError{Reason: "unavailable", Cause: "503", Fix: "none", Since: at.Add(-50 * time.Hour), At: at.Add(-49 * time.Hour)}
	refused := owes(row("ws_bbbbbbbbbbbbbbbb/two", "refused", auditor.Sum{}, auditor.Sum{Files: 1, Records: 1, Bytes: 1}, auditor.Sum{}, meter.Counts{}), time.Hour)
	refused.LastError = &lastError{Reason: "catalog_refused", Cause: "the catalog is wrong: bucket: taken", Fix: "correct the catalog and apply it"}
	fresh := row("ws_bbbbbbbbbbbbbbbb/new", "enabled", auditor.Sum{}, auditor.Sum{}, auditor.Sum{}, meter.Counts{})
	fresh.NewestDelivered, fresh.LastDelivery = time.Time{}, time.Time{}
	s := &destinationsStatus{At: at, Partitions: 8, Walked: 12, Since: at.Add(-30 * 24 * time.Hour), Destinations: []destinationRow{denied, recovered, fresh, refused}}

	var table bytes.Buffer
	require.NoError(t, s.print(&table))
	goldentest.Equal(t, "testdata/golden/destinations_status.txt", table.Bytes())
	var asJSON bytes.Buffer
	require.NoError(t, (&app{stdout: &asJSON}).printJSON(s))
	goldentest.Equal(t, "testdata/golden/destinations_status.json", asJSON.Bytes())

	require.EqualValues(t, 1, s.countLate(28*time.Hour), "a destination with parked files is late")
	require.EqualValues(t, 2, s.countLate(63*time.Minute))
	s.keepBroken()
	require.Len(t, s.Destinations, 2)
	var none bytes.Buffer
	require.NoError(t, (&destinationsStatus{}).print(&none))
	require.Equal(t, "no destination\n", none.String())
	none.Reset()
	working := &destinationsStatus{Destinations: make([]destinationRow, 3)}
	working.keepBroken()
	require.NoError(t, working.print(&none))
	require.Equal(t, "no broken destination among 3\n", none.String())
}

// A parked note that cannot be read does not hide other destinations, nor what else is known about
// its own.
func TestDestinationsStatusWithUnreadableNotes(t *testing.T) {
	staging := objstore.NewMemory("staging")
	at := time.UnixMilli(1795357800000).UTC()
	trouble := meter.Account{Trouble: &meter.Trouble{Cause: "denied", At: at.Add(-time.Minute).UnixMilli()}}
	for i, body := range []string{"hello", strings.Repeat("x", 2<<20), ""} {
		d := auditor.DestinationStatus{ID: "ws/a", ParkedAt: at, ParkedNote: delivery.ParkedKey(delivery.FileRef{Topic: "t", Incarnation: "1", Index: i}, "ws/a")}
		row := func(a meter.Account) destinationRow {
			r, err := newDestinationRow(t.Context(), staging, nil, time.Now(), d, a)
			require.NoError(t, err)
			return r
		}
		require.Nil(t, row(meter.Account{}).LastError, "the note was deleted")
		_, err := staging.Put(t.Context(), d.ParkedNote, strings.NewReader(body), objstore.PutOptions{})
		require.NoError(t, err)
		e := row(meter.Account{}).LastError
		require.Contains(t, e.Cause, d.ParkedNote)
		require.Contains(t, e.Fix, "sealift redrive --destination ws/a")
		require.Equal(t, at, e.At)
		require.Equal(t, "denied", row(trouble).LastError.Cause)
	}
}

// The last error's time is that of the last try: files may be parked without one if their
// destination is known not to work.
func TestDestinationsStatusShowsTimeOfTheLastTry(t *testing.T) {
	staging := objstore.NewMemory("staging")
	at := time.UnixMilli(1795357800000).UTC()
	p := delivery.Parked{
		Job:    delivery.Job{File: delivery.FileRef{Topic: "t", Incarnation: "1"}, Destination: "ws/a"},
		Reason: "put_denied", Cause: "denied", Fix: "allow it", Since: at.Add(-time.Hour).UnixMilli(), At: at.UnixMilli(),
	}
	d := auditor.DestinationStatus{ID: "ws/a", ParkedAt: at, ParkedNote: delivery.ParkedKey(p.Job.File, "ws/a")}
	_, err := staging.Put(t.Context(), d.ParkedNote, bytes.NewReader(p.Encode()), objstore.PutOptions{})
	require.NoError(t, err)
	for _, c := range []struct {
		account meter.Account
		want    time.Time
	}{
		{meter.Account{Trouble: &meter.Trouble{Cause: "denied", At: at.Add(-time.Minute).UnixMilli()}}, at.Add(-time.Minute)},
		{meter.Account{Trouble: &meter.Trouble{Cause: "denied", At: 1}, Delivered: 2}, at}, // other files arrive
		{meter.Account{}, at},
	} {
		r, err := newDestinationRow(t.Context(), staging, nil, time.Now(), d, c.account)
		require.NoError(t, err)
		require.Equal(t, c.want, r.LastError.At)
		require.Equal(t, "put_denied", r.LastError.Reason)
	}
}
