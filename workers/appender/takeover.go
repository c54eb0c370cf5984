package appender

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// takeover is a claim, and what was found out while making it.
type takeover struct {
	base       *ledger.Entry
	local      *segment.Recovery // files that hold what the log no longer holds, and can be trusted; nil: the log holds everything
	cp         *checkpoint       // the checkpoint in local
	logShorter bool              // the log ends below the watermark, so nothing of it must be read
}

// takeoverTimeout limits one try to take a partition over, so that a try that hangs becomes
// visible. A claim whose outcome is open does no harm: if it is written after all, the next try
// loses to it, and the one after that finds it.
const takeoverTimeout = 2 * time.Minute

// takeOver claims the partition. The caller must close the result.
func (p *partition) takeOver(ctx context.Context, tenure ledger.Tenure) (*takeover, error) {
	t := new(takeover)
	claimCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(takeoverTimeout, cancel)
	defer timer.Stop()
	tenure.CheckRouter = func(rule string) error {
		_, _, err := p.appender.routerFor(rule)
		return err
	}
	tenure.LocalEnd = func(_ context.Context, claim *ledger.Entry, end int64) (int64, error) {
		// Reading a day's files takes as long as the disk needs, but it does end, and the next try
		// would only start over.
		timer.Stop()
		defer timer.Reset(takeoverTimeout)
		t.logShorter = end < claim.LowWatermark
		if err := p.findLocalFiles(ctx, t, claim, tenure.Owner); err != nil || t.local == nil {
			return -1, err
		}
		return t.cp.Position, nil
	}
	var err error
	t.base, err = p.appender.deps.Rotator.Acquire(claimCtx, p.log, tenure)
	if err == nil {
		return t, nil
	}
	t.close()
	if claimCtx.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("not taken over within %s: %w", takeoverTimeout, err)
	}
	return nil, err
}

// close releases the local files, unless they were resumed.
func (t *takeover) close() {
	if t.local != nil {
		t.local.Close()
	}
}

// findLocalFiles finds what a claim can continue with when the log does not hold everything.
// t.local stays nil if there is nothing of use. segment.ErrDamaged says that there was something,
// and that the files are damaged: they stay, because an operator may have an intact copy. After any
// other error another try may read them.
func (p *partition) findLocalFiles(ctx context.Context, t *takeover, claim *ledger.Entry, owner string) error {
	local, err := p.readFiles(ctx)
	switch {
	case errors.Is(err, segment.ErrNoCheckpoint):
		if left, _ := os.ReadDir(p.appender.spoolConfig(p.log.Partition).Dir); len(left) > 0 { // its journal may be damaged
			p.logUnusable(ctx, claim, err)
		}
		return nil
	case errors.Is(err, segment.ErrDamaged) || ctx.Err() != nil:
		return err
	case err != nil: // the files may be intact
		return p.unreadableCopyError(t, err)
	}
	cp, err := p.readCheckpoint(local)
	if err == nil {
		err = p.checkChain(ctx, cp, claim, owner)
	}
	if err == nil {
		t.local, t.cp = local, cp
		return nil
	}
	local.Close()
	if errors.Is(err, errUntrusted) {
		p.logUnusable(ctx, claim, err)
		return nil
	}
	return err
}

// unreadableCopyError says what can be done about a disk that cannot return the only copy of what
// the log has lost.
func (p *partition) unreadableCopyError(t *takeover, err error) error {
	if t.logShorter { // there is no loss that could be accepted
		return fmt.Errorf("the disk does not return the only copy of what the topic has lost, and is tried again; repair it: %w", err)
	}
	return fmt.Errorf("the disk does not return the only copy of what the topic has lost, and is tried again; repair it, or accept the loss (sealift ledger accept-loss --partition %d): %w", p.log.Partition, err)
}

// logUnusable logs why the local files are not used, because the halt that follows does not say so.
func (p *partition) logUnusable(ctx context.Context, claim *ledger.Entry, why error) {
	p.logger.WarnContext(ctx, "local files cannot be used", "entry", claim.Seq, "err", why)
}
