package segment

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReasonsAreDocumented: every reason is documented in the ledger's format, for readers of the
// ledger and as a label of the metric.
func TestReasonsAreDocumented(t *testing.T) {
	source, err := os.ReadFile("sealed.go")
	require.NoError(t, err)
	reasons := regexp.MustCompile(`Reason = "(\w+)"`).FindAllSubmatch(source, -1)
	require.Greater(t, len(reasons), 5)
	for path, row := range map[string]string{
		"../../schemas/ledger.md":            "(?m)^\\| `reason` \\|.*`%s`",
		"../../workers/sealift/OPERATING.md": `(?m)^\| .sealift_rotator_files_total\{reason\}. \|.*\b%s\b`,
	} {
		page, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, reason := range reasons {
			require.Regexp(t, fmt.Sprintf(row, reason[1]), string(page))
		}
	}
}
