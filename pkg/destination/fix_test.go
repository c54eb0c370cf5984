package destination

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// Nothing tries a parked job again automatically, so its text must not say so.
func TestFixTexts(t *testing.T) {
	for hazard, c := range map[string]struct {
		fix          Fix
		said, parked string
	}{
		"to_do":        {Fix{Do: "create the bucket"}, "create the bucket", "create the bucket"},
		"only_waiting": {Fix{Retry: "it is tried again"}, "none: it is tried again", "remove the cause, then: sealift redrive"},
		"if_it_lasts": {Fix{Do: "check the clock", Retry: "it is tried again"},
			"none: it is tried again; if it lasts, check the clock", "check the clock, then: sealift redrive"},
	} {
		t.Run(hazard, func(t *testing.T) {
			require.Equal(t, c.said, c.fix.String())
			require.Equal(t, c.parked, c.fix.Parked("sealift redrive"))
			b, err := json.Marshal(Verdict{Reason: "x", Cause: "y", Fix: c.fix})
			require.NoError(t, err)
			require.JSONEq(t, `{"reason": "x", "cause": "y", "fix": "`+c.said+`"}`, string(b))
		})
	}
}
