package stream_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

// An outage of an hour is sixty lines, whatever the number of partitions, and
// each says how many it stands for.
func TestSparse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var s stream.Sparse
		for range 3600 / 5 {
			for partition := range 256 {
				s.Warn(t.Context(), log, "fetch failed", "partition", partition)
			}
			time.Sleep(5 * time.Second)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		require.Len(t, lines, 60)
		require.NotContains(t, lines[0], "not_logged")
		require.Contains(t, lines[59], "not_logged=3071") // 12 rounds of 256, but for the one that was
	})
}
