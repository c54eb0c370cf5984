package delivery

import (
	"fmt"

	"github.com/sealift/sealift/pkg/strictjson"
)

// maxJob bounds a job, so that any job that was read can be enqueued again.
const maxJob = 16 << 10

// Job asks for one file to be put into one destination.
type Job struct {
	Version     int     `json:"version"`
	File        FileRef `json:"file"`
	Destination string  `json:"destination"`          // "workspace/name"
	Attempt     int     `json:"attempt"`              // failed attempts so far
	Spared      int     `json:"spared,omitempty"`     // how often there was no attempt because a breaker was open
	Refused     int     `json:"refused,omitempty"`    // how many failed attempts looked permanent
	NotBefore   int64   `json:"not_before,omitempty"` // unix ms
	FirstTry    int64   `json:"first_try,omitempty"`  // unix ms of when it first failed or was spared
	LastError   string  `json:"last_error,omitempty"`
	// Replay is the id of the order that the job belongs to, or "" if the ledger itself owes the
	// file. Jobs of replays have their own topics.
	Replay string `json:"replay,omitempty"`
}

// Encode returns the job's bytes.
func (j Job) Encode() []byte {
	j.Version = FormatVersion
	return encode(j)
}

// RecordKey returns the key of the job's record. It spreads jobs over partitions and keeps the jobs
// of one file and destination together. Nothing depends on it.
func (j Job) RecordKey() []byte { return fmt.Appendf(nil, "%s %s", j.File, j.Destination) }

func (j Job) valid() bool {
	return j.Version == FormatVersion && j.File.valid() && IsDestination(j.Destination) && j.Attempt >= 0 && j.Spared >= 0 && j.Refused >= 0 &&
		(j.Replay == "" || orderID.MatchString(j.Replay))
}

// DecodeJob parses a job strictly; the error wraps ErrBadJob.
func DecodeJob(b []byte) (Job, error) {
	if len(b) > maxJob {
		return Job{}, fmt.Errorf("%w: %d bytes", ErrBadJob, len(b))
	}
	var j Job
	if err := strictjson.Decode(b, &j); err != nil {
		return Job{}, fmt.Errorf("%w: %w", ErrBadJob, err)
	}
	if !j.valid() {
		return Job{}, fmt.Errorf("%w: version, file and destination must be set, to what a key may hold", ErrBadJob)
	}
	return j, nil
}
