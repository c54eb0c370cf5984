package shell

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQuoteIfNeeded(t *testing.T) {
	for word, want := range map[string]string{
		"s3://acme-logs/a=b/c,d":        "s3://acme-logs/a=b/c,d",
		"ws_7Qm2Zc9LkTRpV4xWnBsD0a/web": "ws_7Qm2Zc9LkTRpV4xWnBsD0a/web",
		"":                              "''",
		"ws/My Dest":                    "'ws/My Dest'",
		"it's":                          `'it'\''s'`,
		"(a)!~$x`*?;&|<>\"\\\n":         "'(a)!~$x`*?;&|<>\"\\\n'",
		"~":                             "'~'",
		"Zürich":                        "'Zürich'",
	} {
		require.Equal(t, want, QuoteIfNeeded(word))
		out, err := exec.Command("sh", "-c", "printf %s "+QuoteIfNeeded(word)).Output()
		require.NoError(t, err)
		require.Equal(t, word, string(out), "as a shell reads it")
	}
}
