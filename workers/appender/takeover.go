package appender

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// takeover is a claim, and what was found out on the way to it.
type takeover struct {
	base  *ledger.Entry
	local *segment.Recovery // holds what the log does not hold any more, and is trusted; nil: the log holds all
	cp    *checkpoint       // of local
	anew  bool              // the log ends below the watermark: nothing of it is to be read
}

// takeoverWithin bounds one try to take a partition over, so that one that
// cannot end is seen as trouble. A claim whose outcome is open does no harm: if it
// is written after all, the next try loses to it, and the one after that finds it.
const takeoverWithin = 2 * time.Minute

// takeOver claims the partition. What it returns is to be closed.
func (p *partition) takeOver(ctx context.Context, tenure ledger.Tenure) (*takeover, error) {
	t := new(takeover)
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(takeoverWithin, cancel)
	defer timer.Stop()
	tenure.Routes = func(rule string) error {
		_, _, err := p.a.routerOf(rule)
		return err
	}
	tenure.Local = func(_ context.Context, claim *ledger.Entry, end int64) (int64, error) {
		// Reading a day's files takes as long as the disk needs, and does end; the next
		// try would only start over.
		timer.Stop()
		defer timer.Reset(takeoverWithin)
		t.anew = end < claim.LowWatermark
		if err := p.local(ctx, t, claim, tenure.Owner); err != nil || t.local == nil {
			return -1, err
		}
		return t.cp.Position, nil
	}
	var err error
	t.base, err = p.a.deps.Rotator.Acquire(within, p.log, tenure)
	if err == nil {
		return t, nil
	}
	t.close()
	if within.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("not taken over within %s: %w", takeoverWithin, err)
	}
	return nil, err
}

// close lets go of the local files, if nobody resumed them.
func (t *takeover) close() {
	if t.local != nil {
		t.local.Close()
	}
}

// local finds what a claim goes on with where the log does not hold all: t.local
// stays nil if it would drop the local files. An error says that this is not known:
// another try may read them.
func (p *partition) local(ctx context.Context, t *takeover, claim *ledger.Entry, owner string) error {
	local, err := p.readFiles(ctx)
	switch {
	case errors.Is(err, segment.ErrNoCheckpoint):
		return nil
	case errors.Is(err, segment.ErrDamaged):
		p.ofNoUse(ctx, claim, err)
		return nil
	case err != nil: // they may be whole
		return err
	}
	cp, err := p.readCheckpoint(local)
	if err == nil {
		err = p.trust(ctx, cp, claim, owner)
	}
	if err == nil {
		t.local, t.cp = local, cp
		return nil
	}
	local.Close()
	if errors.Is(err, errUntrusted) {
		p.ofNoUse(ctx, claim, err)
		return nil
	}
	return err
}

// ofNoUse logs why the local files are not taken up; the halt that follows does not
// say it.
func (p *partition) ofNoUse(ctx context.Context, claim *ledger.Entry, why error) {
	p.lg.WarnContext(ctx, "local files cannot be used", "entry", claim.Seq, "err", why)
}
