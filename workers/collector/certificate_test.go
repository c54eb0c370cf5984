package collector

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/certs/certtest"
	"github.com/sealift/sealift/pkg/logtest"
)

// What is wrong with the files is logged once for as long as it is, and again
// when it comes back.
func TestAKeyThatIsAwayIsLoggedEachTime(t *testing.T) {
	pair := certtest.NewCA(t, "ours").Issue("server", nil)
	synctest.Test(t, func(t *testing.T) {
		var log logtest.Buffer
		c, err := loadCertificate(pair.Cert, pair.Key, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		go c.follow(ctx)
		move := func(from, to string) {
			require.NoError(t, os.Rename(from, to))
			time.Sleep(10 * certificateEvery)
			synctest.Wait()
		}
		for times := range 2 {
			move(pair.Key, pair.Key+".away")
			require.Equal(t, times+1, strings.Count(log.String(), "is not used"), log.String())
			move(pair.Key+".away", pair.Key)
		}
		require.NotContains(t, log.String(), "new certificate is used", "it is the same")
		cancel()
		synctest.Wait()
	})
}
