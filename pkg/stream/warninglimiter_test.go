package stream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

// An outage of an hour logs sixty lines, whatever the number of partitions, and each says how many
// were held back.
func TestWarningLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []int
		var s stream.WarningLimiter
		for range 3600 / 5 {
			for range 256 {
				s.Do(func(suppressed int) { said = append(said, suppressed) })
			}
			time.Sleep(5 * time.Second)
		}
		require.Len(t, said, 60)
		require.Zero(t, said[0])
		require.Equal(t, 12*256-1, said[59]) // 12 rounds, except for the one that was logged
	})
}
