package delivery

import (
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/shell"
	"github.com/sealift/sealift/pkg/strictjson"
)

// Parked is a job that was set aside because its destination needs a person. It stays owed and
// visible, and redrive enqueues it again.
type Parked struct {
	Version int    `json:"version"`
	Job     Job    `json:"job"`
	Reason  string `json:"reason,omitempty"` // a word for what failed; "" if not recorded
	Cause   string `json:"cause"`            // what failed
	Fix     string `json:"fix"`              // what to change
	Since   int64  `json:"since"`            // unix ms of the first failed attempt
	At      int64  `json:"at"`               // unix ms
}

// Reasons, from the catalog, for sending nothing to a destination.
const (
	ReasonDisabled = "disabled"        // it is disabled
	ReasonGone     = "gone"            // it is not in the catalog
	ReasonRefused  = "catalog_refused" // its record breaks a rule of the catalog
)

// ByCatalog reports whether the job was set aside only because of the catalog: it can be tried
// again as soon as the catalog allows it. All other jobs wait until a person says that the cause is
// fixed.
func (p Parked) ByCatalog() bool {
	return p.Reason == ReasonDisabled || p.Reason == ReasonGone || p.Reason == ReasonRefused
}

// Encode returns the parked job's bytes.
func (p Parked) Encode() []byte {
	p.Version = FormatVersion
	p.Job.Version = FormatVersion
	return append(encode(p), '\n')
}

// DecodeParked parses a parked job strictly; the error wraps ErrBadJob.
func DecodeParked(b []byte) (Parked, error) {
	var p Parked
	if err := strictjson.Decode(b, &p); err != nil {
		return Parked{}, fmt.Errorf("%w: %w", ErrBadJob, err)
	}
	if p.Version != FormatVersion || !p.Job.valid() {
		return Parked{}, fmt.Errorf("%w: version, file and destination must be set", ErrBadJob)
	}
	return p, nil
}

// ReasonUnreadable is the reason of a parked job whose note cannot be read.
const ReasonUnreadable = "note_unreadable"

// maxErrorRunes limits how many characters are kept of an error that may quote a note.
const maxErrorRunes = 200

// NoteAt returns the note (Parked) that was read at the key of a parked job or of a delivery that a
// replay could not make. body is what was read, stored is when it was stored, and readErr is the
// error if it could not be read. A note that cannot be understood is not a dead end: its key says
// which file waits for which destination, which is all that is needed to try again or to give up.
// The returned note then says what is wrong. NoteAt returns an error only if the key is not one of
// ours.
func NoteAt(key string, body []byte, readErr error, stored time.Time) (Parked, error) {
	job, ok := jobOfNote(key)
	if !ok {
		return Parked{}, fmt.Errorf("%w: object %q of the staging bucket: its key is that of no parked job; it stands for no file, delete it", ErrBadJob, key)
	}
	var p Parked
	err := readErr
	if err == nil {
		p, err = DecodeParked(body)
	}
	if err == nil && (p.Job.File != job.File || p.Job.Destination != job.Destination || p.Job.Replay != job.Replay) {
		err = fmt.Errorf("%w: it belongs at another key", ErrBadJob)
	}
	if err == nil {
		return p, nil
	}
	text := []rune(err.Error())
	if len(text) > maxErrorRunes {
		text = append(text[:maxErrorRunes], '…')
	}
	fix := fmt.Sprintf("`sealift redrive --destination %s` tries the file again, with --skip gives it up; either removes the note", shell.QuoteIfNeeded(job.Destination))
	if job.Replay != "" {
		fix = fmt.Sprintf("`sealift replay --resume %s` tries the file again", job.Replay)
	}
	at := stored.UnixMilli()
	return Parked{Job: job, Reason: ReasonUnreadable, Cause: fmt.Sprintf("why is not known: its note %q cannot be read: %s", key, string(text)), Fix: fix, Since: at, At: at}, nil
}

// jobOfNote returns the job that a note's key stands for, without attempts.
func jobOfNote(key string) (Job, bool) {
	if job, failed, ok := ParseReplayCopyKey(key); ok {
		return job, failed
	}
	r, destination, ok := ParseParkedKey(key)
	return Job{File: r, Destination: destination}, ok
}
