package appender

import (
	"context"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/stream"
)

// logState is what is known about the log at the next offset to be read. Unless it is logReadable,
// nothing is read.
//
//	readable -- a fetch finds the offset missing --> unknown
//	unknown  -- the log's bounds are known --------> cut, passed or rewritten
//	readable -- a record's offset went back -------> cut
//	readable -- the takeover found a shorter log --> rewritten
type logState int

const (
	logReadable logState = iota
	// logUnknown: the log lacks the offset, and its bounds are not known yet.
	logUnknown
	// logCut: the log was cut below the offset, and still holds the watermark. What it holds now,
	// or will hold, at the lost offsets is not what was read there. The state is void, and reading
	// starts over at the watermark.
	logCut
	// logPassed: retention passed the watermark and the offset. Some of what was read exists
	// nowhere else, so it is written to the ledger before the tenure ends. The next tenure halts
	// because of the records that were not read.
	logPassed
	// logRewritten: the log lacks the watermark, and was cut below the offset or created anew. What
	// was read is written to the ledger, as with logPassed: Kafka held it once, and starting over
	// would give up for good what was read since the watermark. New records at the lost offsets
	// count as read unless an operator intervenes.
	logRewritten
)

// writeOnly reports whether what was read only has to be written, because the log lacks some of it.
func (s logState) writeOnly() bool { return s == logPassed || s == logRewritten }

// resolveMissing finds out why the log lacks the next offset, as long as that is unknown.
func (l *loop) resolveMissing(ctx context.Context) error {
	if l.logState != logUnknown {
		return nil
	}
	l.partition.view.noteFetchErr(l.missingErr, time.Now())
	bounds, err := l.partition.appender.bounds(ctx, l.partition.log)
	if err != nil {
		l.partition.logger.WarnContext(ctx, "the log's bounds are not known, asking again", "err", err)
		return nil
	}
	if bounds.Readable(l.core.base.LowWatermark) {
		l.logState = logCut // the log begins below the offset, so it must be the end that went back
		return l.missingErr
	}
	l.partition.logger.ErrorContext(ctx, "the log has lost records: reading cannot continue; writing what was already read to the ledger",
		"offset", l.core.position, "log_start", bounds.First, "log_end", bounds.End)
	if bounds.First > l.core.position {
		return l.writeHeld(logPassed, l.missingErr)
	}
	return l.writeHeld(logRewritten, l.missingErr)
}

// writeHeld stops reading. What is held is written to the ledger, and the tenure ends with the
// error gone.
func (l *loop) writeHeld(state logState, reason error) error {
	l.logState, l.missingErr = state, reason
	l.partition.view.noteProblem(reason)
	return l.sealNow()
}

// salvage writes what the takeover found on the disk because the log no longer holds it. Until it
// is in the ledger every other worker is halted, and an operator may accept it as a loss, so it is
// written at once.
func (l *loop) salvage(t *takeover) error {
	switch {
	case t.logShorter:
		return l.writeHeld(logRewritten, fmt.Errorf("the topic ends below offset %d: %w", t.base.LowWatermark, stream.ErrOffsetOutOfRange))
	case t.local != nil:
		return l.sealNow()
	}
	return nil
}
