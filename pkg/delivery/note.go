package delivery

import (
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/shell"
)

// ReasonUnreadable is why a job was set aside whose note cannot be read.
const ReasonUnreadable = "note_unreadable"

// mostOfAnError is how much is told of an error that may quote a note.
const mostOfAnError = 200

// NoteAt returns the note (Parked) that was read at a key of a parked job or of
// what a replay could not deliver, and was stored then; unread is why there is
// no body. What cannot be understood is no dead end: the key says which file at
// which destination waits, which is all that it takes to try again or give up,
// and the note that is returned says what is wrong. Only a key that is none of
// ours is an error.
func NoteAt(key string, body []byte, unread error, stored time.Time) (Parked, error) {
	job, ok := jobOfNote(key)
	if !ok {
		return Parked{}, fmt.Errorf("%w: object %q of the staging bucket: its key is that of no parked job; it stands for no file, delete it", ErrBadJob, key)
	}
	var p Parked
	err := unread
	if err == nil {
		p, err = DecodeParked(body)
	}
	if err == nil && (p.Job.File != job.File || p.Job.Destination != job.Destination || p.Job.Replay != job.Replay) {
		err = fmt.Errorf("%w: it belongs at another key", ErrBadJob)
	}
	if err == nil {
		return p, nil
	}
	what := []rune(err.Error())
	if len(what) > mostOfAnError {
		what = append(what[:mostOfAnError], '…')
	}
	fix := fmt.Sprintf("`sealift redrive --destination %s` tries the file again, with --skip gives it up; either removes the note", shell.Word(job.Destination))
	if job.Replay != "" {
		fix = fmt.Sprintf("`sealift replay --resume %s` tries the file again", job.Replay)
	}
	at := stored.UnixMilli()
	return Parked{Job: job, Reason: ReasonUnreadable, Cause: fmt.Sprintf("why is not known: its note %q cannot be read: %s", key, string(what)), Fix: fix, Since: at, At: at}, nil
}

// jobOfNote returns the job, untried, that a note's key stands for.
func jobOfNote(key string) (Job, bool) {
	if job, failed, ok := ParseReplayCopyKey(key); ok {
		return job, failed
	}
	r, destination, ok := ParseParkedKey(key)
	return Job{File: r, Destination: destination}, ok
}
