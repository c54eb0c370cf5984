// Package migration remembers how far the move of a destination has got: from the operator's
// principal to a role, or to another bucket or prefix.
//
// It is for people who move a destination step by step, and who may be interrupted after any step.
// It keeps a chain of numbered notes in the staging bucket, each created if absent: of two people
// who move the same destination concurrently, one wins every step, and the other is told. It
// promises to derive the next step from the notes and from what the catalog says now; the catalog
// decides. It changes neither the catalog nor a customer's bucket.
package migration

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/strictjson"
)

// noteVersion is the version of notes that this code writes and reads.
const noteVersion = 1

// Errors of notes.
var (
	// errTaken says that somebody else took the step.
	errTaken = errors.New("somebody else takes this destination further")
	// ErrChanged says that the destination in the catalog is neither the old nor the new place.
	ErrChanged = errors.New("the destination was changed otherwise")
	// errBadNote says that a note cannot be read.
	errBadNote = errors.New("malformed migration note")
)

// Place is where a destination's files go, and with which credentials, according to the catalog.
type Place struct {
	Bucket  string `json:"bucket"`             // name[/prefix]
	RoleARN string `json:"role_arn,omitempty"` // "": the operator's own principal
}

// Step is what was done, or is being done: the note is written before the step is carried out, and
// every step may be repeated.
type Step string

// Steps.
const (
	Begun     Step = "begun"     // planned and checked
	Tried     Step = "tried"     // a file was put into the test folder
	Switched  Step = "switched"  // the catalog is being changed
	Confirmed Step = "confirmed" // files arrive at the new place: the migration is over
	// Aborted: the catalog is being changed back, unless it had neither the old nor the new place
	// any more; the migration is over.
	Aborted Step = "aborted"
)

// Note is one step of a migration.
type Note struct {
	Version     int    `json:"version"`
	Destination string `json:"destination"` // workspace/name
	Step        Step   `json:"step"`
	From        Place  `json:"from"`
	To          Place  `json:"to"`
	Test        string `json:"test,omitempty"` // the test folder, bucket/key/, from "tried" on
	// Blamed is the copier that did not follow the switch, if the switch is noted again because of
	// that.
	Blamed  string `json:"blamed,omitempty"`
	By      string `json:"by"`      // for people
	At      int64  `json:"at"`      // unix ms
	Attempt string `json:"attempt"` // distinguishes one's own note from another's
}

// Over says whether the migration has ended.
func (n Note) Over() bool { return n.Step == Confirmed || n.Step == Aborted }

// noteKey is the key of note i of a destination in staging.
func noteKey(destination string, i int) string {
	return fmt.Sprintf("migrations/%s/%05d.json", destination, i)
}

// Log has the notes of one destination. It is not safe for concurrent use.
type Log struct {
	store       objstore.Store
	destination string
	last        *Note
	next        int // number of the next note
}

// Open reads the notes of a destination.
func Open(ctx context.Context, store objstore.Store, destination string) (*Log, error) {
	l := &Log{store: store, destination: destination}
	for {
		n, err := l.read(ctx, l.next)
		if errors.Is(err, objstore.ErrNotFound) {
			return l, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read what is known of the migration of %s: %w", destination, err)
		}
		l.last = n
		l.next++
	}
}

// Last returns the newest note, or nil if there is none.
func (l *Log) Last() *Note { return l.last }

// Append takes a step: it fills in the fields of n that do not depend on the step. It returns
// errTaken if there is another note with that number.
func (l *Log) Append(ctx context.Context, n Note) error {
	n.Version, n.Destination, n.At, n.Attempt = noteVersion, l.destination, time.Now().UnixMilli(), rand.Text()
	_, err := l.store.Put(ctx, noteKey(l.destination, l.next), bytes.NewReader(n.encode()), objstore.PutOptions{IfAbsent: true, ContentType: "application/json"})
	if errors.Is(err, objstore.ErrExists) || errors.Is(err, objstore.ErrConflict) || errors.Is(err, objstore.ErrUnavailable) && ctx.Err() == nil {
		existing, rerr := l.read(ctx, l.next) // it may be our own, if the answer was lost
		switch {
		case rerr == nil && existing.Attempt == n.Attempt:
			err = nil
		case rerr == nil:
			return fmt.Errorf("%w: %s, by %s at %s; run it again to see where it stands", errTaken, existing.Step, existing.By, time.UnixMilli(existing.At).UTC().Format(time.RFC3339))
		}
	}
	if err != nil {
		return fmt.Errorf("note that the migration of %s is %s: %w", l.destination, n.Step, err)
	}
	l.last = &n
	l.next++
	return nil
}

func (l *Log) read(ctx context.Context, i int) (*Note, error) {
	b, err := objstore.Read(ctx, l.store, noteKey(l.destination, i), 1<<20)
	if err != nil {
		return nil, err
	}
	n, err := decode(b)
	if err == nil && n.Destination != l.destination {
		err = fmt.Errorf("%w: it is of %q", errBadNote, n.Destination)
	}
	return &n, err
}

// encode returns the note's bytes.
func (n Note) encode() []byte {
	b, err := json.Marshal(n)
	if err != nil {
		panic(err) // strings and a number
	}
	return append(b, '\n')
}

// decode parses a note strictly; the error wraps errBadNote.
func decode(b []byte) (Note, error) {
	var n Note
	if err := strictjson.Decode(b, &n); err != nil {
		return n, fmt.Errorf("%w: %w", errBadNote, err)
	}
	switch n.Step {
	case Begun, Tried, Switched, Confirmed, Aborted:
	default:
		return n, fmt.Errorf("%w: step %q", errBadNote, n.Step)
	}
	if n.Version != noteVersion || n.Destination == "" || n.From.Bucket == "" || n.To.Bucket == "" {
		return n, fmt.Errorf("%w: version, destination, from and to must be set", errBadNote)
	}
	return n, nil
}

// Phase is what to do next.
type Phase int

// Phases.
const (
	Idle    Phase = iota // no migration is in progress
	Try                  // put a file into the test folder
	Switch               // change the catalog
	Confirm              // wait for files
)

// NextPhase derives what to do next from the newest note and from what the catalog says now. If
// somebody applied the change to the catalog in another way, that counts as the switch.
func NextPhase(last *Note, now Place) (Phase, error) {
	switch {
	case last == nil || last.Over():
		return Idle, nil
	case now == last.To:
		return Confirm, nil
	case now != last.From:
		return Idle, fmt.Errorf("%w: it was %s, is to be %s, and is %s", ErrChanged, last.From, last.To, now)
	case last.Step == Begun:
		return Try, nil
	}
	return Switch, nil
}

func (p Place) String() string {
	if p.RoleARN == "" {
		return "s3://" + p.Bucket + " by Sealift's principal"
	}
	return "s3://" + p.Bucket + " by role " + p.RoleARN
}
