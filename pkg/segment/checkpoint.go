package segment

import (
	"encoding/json"
	"fmt"
)

// checkpoint is the payload of a checkpoint frame. The whole state of a spool is this, the blocks
// of the listed chunks up to the listed sizes, and the lines before it in its journal.
type checkpoint struct {
	State  []byte            `json:"state"` // the owner's
	Chunks []checkpointChunk `json:"chunks"`
	Sealed []checkpointFile  `json:"sealed"`
}

type checkpointChunk struct {
	N    int   `json:"n"`
	Size int64 `json:"size"`
}

// checkpointFile is a sealed file that was not released.
type checkpointFile struct {
	Meta
	Reason Reason
}

// journalSlack is how much a journal may hold, in addition to twice what is in memory, before the
// next one begins.
const journalSlack = 16 << 20 // 16 MiB

// Checkpoint saves everything appended and sealed so far, together with the owner's state. Until
// the next checkpoint, Recover returns this, however the process ends. Checkpoint returns the
// number of bytes written.
//
// Lines that are not in a block yet go to the journal as they are, each once. Nothing is synced:
// what the kernel holds survives a killed process, and what a power failure leaves half-written is
// not whole, so it is not recovered.
func (s *Spool) Checkpoint(state []byte) (int64, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	// 1. the blocks
	if err := s.writeChunk(); err != nil {
		return 0, err
	}
	// 2. the lines; all of them, in a new journal, if the old one consists mostly of lines that are
	// in blocks by now
	if s.journal == nil || s.journal.size > 2*s.held+journalSlack {
		if err := s.beginJournal(); err != nil {
			return 0, s.fail(err)
		}
	}
	begin := s.journal.size
	var lines []byte
	for _, a := range s.open {
		if a.journaledBytes == a.lines.len {
			continue
		}
		lines = a.lines.appendTo(lines[:0], a.journaledBytes)
		s.buf = appendFrame(s.buf, frame{Meta: a.Meta, kind: kindLines, inFrame: a.Records - a.savedRecords, payload: lines})
		a.journaledBytes, a.savedRecords = a.lines.len, a.Records
		if len(s.buf) >= 256<<10 {
			if err := s.writeJournal(); err != nil {
				return 0, err
			}
		}
	}
	// 3. what makes these a state
	c := checkpoint{State: state}
	for c2 := range s.chunks {
		c2.inCheckpoint = true
		c.Chunks = append(c.Chunks, checkpointChunk{N: c2.n, Size: c2.size})
	}
	for f := range s.sealed {
		c.Sealed = append(c.Sealed, checkpointFile{Meta: f.Meta, Reason: f.Reason})
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return 0, s.fail(fmt.Errorf("encode checkpoint: %w", err))
	}
	s.buf = appendFrame(s.buf, frame{kind: kindCheckpoint, payload: payload})
	if err := s.writeJournal(); err != nil {
		return 0, err
	}
	// 4. delete what only the previous checkpoint needed
	for _, c := range s.doomed {
		c.remove()
	}
	s.doomed = nil
	return s.journal.size - begin, nil
}

func (s *Spool) writeJournal() error {
	if err := s.journal.append(s.buf); err != nil {
		return s.fail(err)
	}
	s.buf = s.buf[:0]
	return nil
}

// beginJournal begins a journal, to which all lines in memory will be written. The previous one is
// needed until the first checkpoint in the new one.
func (s *Spool) beginJournal() error {
	j, err := s.createChunk(journalExt)
	if err != nil {
		return err
	}
	if s.journal != nil {
		s.doomed = append(s.doomed, s.journal)
	}
	s.journal = j
	for _, a := range s.open {
		a.journaledBytes, a.savedRecords = 0, a.flushedRecords
	}
	return nil
}
