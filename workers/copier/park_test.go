package copier

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
)

// Nothing retries a parked file by itself, so its fix must not say so.
func TestParkedFixNamesAnAction(t *testing.T) {
	for fix, want := range map[destination.Fix]string{
		{Do: "create the bucket"}:                           "create the bucket",
		{Retry: "it is tried again"}:                        "remove the cause, then: sealift redrive --destination ws/a",
		{Do: "check the clock", Retry: "it is tried again"}: "check the clock, then: sealift redrive --destination ws/a",
	} {
		require.Equal(t, want, parkedNote(delivery.Job{Destination: "ws/a"}, destination.Verdict{Fix: fix}).Fix)
	}
}

// Notes stay small enough to be read back, even if a verdict quotes a customer's server at length.
func TestParkedNotesAreBounded(t *testing.T) {
	for hazard, text := range map[string]string{"long": strings.Repeat("x", 2<<20), "escaped": strings.Repeat("\x01", 2<<20), "no_utf8": strings.Repeat("\xff", 2<<20)} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "x")
			note := parkedNote(job, destination.Verdict{Cause: text, Fix: destination.Fix{Do: text}})
			require.Less(t, len(note.Encode()), 256<<10)
			_, err := delivery.DecodeParked(note.Encode())
			require.NoError(t, err)
		})
	}
}
