package copier

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
)

// Nothing tries a parked file again by itself, so its fix must not say so.
func TestParkedFixIsSomethingToDo(t *testing.T) {
	for fix, want := range map[string]string{
		"create the bucket":       "create the bucket",
		"none: it is tried again": "remove the cause, then: sealift redrive --destination ws/a",
		"none: it is tried again; if it lasts, check the clock": "check the clock, then: sealift redrive --destination ws/a",
	} {
		require.Equal(t, want, parkedFix(fix, again(delivery.Job{Destination: "ws/a"})))
	}
}
