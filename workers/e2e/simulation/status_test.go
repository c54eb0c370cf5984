package simulation

import (
	"context"
	"time"

	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/workers/auditor"
)

// account is the state of a destination: files, records, and the age of its oldest file.
type account struct {
	delivered, pending, parked, records int64
	oldest                              time.Time
}

// status compares, at any moment, what operators are told about destinations with what the judge
// saw itself, whatever was killed or is under way. The reported requests are never more than were
// made.
func (j *judge) status() {
	want := map[string]account{}
	for _, c := range j.chains {
		for _, e := range c.entries {
			for i, f := range e.Files {
				for _, dest := range f.Owed {
					a, s := want[dest], j.debts[debt{e.Partition, e.Seq, i, dest}]
					switch {
					case s.receipt:
						a.delivered++
						a.records += f.Records
					case s.parked:
						a.parked++
					default:
						a.pending++
					}
					if received := time.UnixMilli(f.Received).UTC(); !s.receipt && (a.oldest.IsZero() || received.Before(a.oldest)) {
						a.oldest = received
					}
					want[dest] = a
				}
			}
		}
	}
	got, err := auditor.ReadStatus(context.Background(), auditor.StatusConfig{Topic: eventsTopic, Concurrency: 2}, j.w.staging.Memory, nil)
	if err != nil {
		j.promiseBroken("status: %v", err)
		return
	}
	if len(got.Destinations) != len(want) {
		j.promiseBroken("status tells of %d destinations, not %d", len(got.Destinations), len(want))
	}
	noted, _, err := meter.Read(context.Background(), j.w.staging.Memory)
	if err != nil {
		j.promiseBroken("requests: %v", err)
	}
	for i, id := range destinationIDs { // what a killed copier had not written yet is missing
		if sent := j.sent["put "+bucketNames[i]]; noted[id].Puts > sent {
			j.promiseBroken("%d PUTs are noted for %s, %d were sent", noted[id].Puts, id, sent)
		}
	}
	for _, d := range got.Destinations {
		is := account{d.Delivered.Files, d.Pending.Files, d.Parked.Files, d.Delivered.Records, d.OldestOwed}
		if is != want[d.ID] {
			j.promiseBroken("status of %s is %+v, not %+v", d.ID, is, want[d.ID])
		}
	}
}
