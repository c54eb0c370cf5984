package spelling

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHours(t *testing.T) {
	for text, want := range map[string]string{
		"7d": "168h", "7 days": "168h", "1day": "24h", "1w": "168h", "2 Weeks": "336h", "0d": "0h",
		"": "", "d": "", "7": "", "7h": "", "-7d": "", "1.5d": "", "1d12h": "", "70000d": "", "7 d d": "",
	} {
		require.Equal(t, want, Hours(text), text)
	}
}
