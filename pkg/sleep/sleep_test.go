package sleep

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFor(t *testing.T) {
	for hazard, c := range map[string]struct {
		lasts, want time.Duration
		err         error
	}{
		"time_passes":  {lasts: time.Minute, want: time.Second},
		"context_ends": {lasts: time.Millisecond, want: time.Millisecond, err: context.DeadlineExceeded},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.lasts)
				defer cancel()
				begun := time.Now()
				require.ErrorIs(t, For(ctx, time.Second), c.err)
				require.Equal(t, c.want, time.Since(begun))
			})
		})
	}
}
