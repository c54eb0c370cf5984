package delivery

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/strictjson"
)

// Outcome is how a debt was closed.
type Outcome string

// Outcomes.
const (
	Delivered Outcome = "delivered" // after a 200, or a 412 on our content-named key
	Skipped   Outcome = "skipped"   // an operator gave it up
)

// Receipt closes one debt: one file at one destination.
type Receipt struct {
	Version     int     `json:"version"`
	File        FileRef `json:"file"`
	Destination string  `json:"destination"`
	Outcome     Outcome `json:"outcome"`
	Bucket      string  `json:"bucket"`
	Key         string  `json:"key"`
	ETag        string  `json:"etag,omitempty"`
	SHA256      string  `json:"sha256"`
	Bytes       int64   `json:"bytes"`
	Records     int64   `json:"records"`
	Existed     bool    `json:"existed,omitempty"` // the PUT was answered 412
	Worker      string  `json:"worker"`
	Fence       int64   `json:"fence,omitempty"`
	At          int64   `json:"at"`               // unix ms
	Replay      string  `json:"replay,omitempty"` // the order that it was delivered for, if any
	// Role is the ARN of the role that put the object, or "" if the operator's own principal did.
	Role string `json:"role,omitempty"`
}

// MinDeliveredSize returns the smallest possible size in bytes of a receipt that says that file f
// was delivered, wherever and by whomever. A receipt with another outcome names no object and is
// shorter (see MaxWorker), so a listing of receipts shows which of them have to be read.
func MinDeliveredSize(r FileRef, destination string, f *ledger.File) int64 {
	return int64(len(Receipt{
		File: r, Destination: destination, Outcome: Delivered, Bucket: "aws", Key: ObjectKey("", r.Log(), f), SHA256: f.SHA256,
		Bytes: 1, Records: f.Records, At: 1e12,
	}.Encode()))
}

// MaxWorker is the longest name of a worker in a receipt that names no object, in bytes.
const MaxWorker = 100

// Encode returns the receipt's bytes.
func (r Receipt) Encode() []byte {
	r.Version = FormatVersion
	return append(encode(r), '\n')
}

// DecodeReceipt parses a receipt strictly; the error wraps ErrBadReceipt.
func DecodeReceipt(b []byte) (Receipt, error) {
	var r Receipt
	if err := strictjson.Decode(b, &r); err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", ErrBadReceipt, err)
	}
	if r.Version != FormatVersion || !r.File.valid() || r.Destination == "" {
		return Receipt{}, fmt.Errorf("%w: version, file and destination must be set", ErrBadReceipt)
	}
	switch r.Outcome {
	case Delivered, Skipped:
		return r, nil
	}
	return Receipt{}, fmt.Errorf("%w: outcome %q", ErrBadReceipt, r.Outcome)
}

// Receipts of one entry that are written at the same time are one object, a batch, if the entry
// owes at least BatchFrom deliveries. A batch holds at most MaxBatch receipts, all of which say
// that the file was delivered. It costs one request, where a receipt that is written by itself
// costs one for each delivery; the price is that a listing does not tell what is in a batch.
const (
	BatchFrom = 16
	MaxBatch  = 256
)

// EncodeBatch returns the bytes of a batch: its receipts, one after the other.
func EncodeBatch(rs []Receipt) []byte {
	var b []byte
	for _, r := range rs {
		b = append(b, r.Encode()...)
	}
	return b
}

// DecodeBatch parses the batch of an entry. It returns the receipts that it understands, and an
// error that wraps ErrBadReceipt if there is anything else in it.
func DecodeBatch(l ledger.Log, seq int64, b []byte) ([]Receipt, error) {
	var rs []Receipt
	var errs []error
	n := 0
	for line := range bytes.Lines(b) {
		n++
		r, err := DecodeReceipt(line)
		switch {
		case err != nil:
		case r.File.Log() != l || r.File.Seq != seq:
			err = fmt.Errorf("%w: it is of %s", ErrBadReceipt, r.File)
		case r.Outcome != Delivered:
			err = fmt.Errorf("%w: outcome %q in a batch", ErrBadReceipt, r.Outcome)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		rs = append(rs, r)
	}
	if n == 0 {
		errs = append(errs, fmt.Errorf("%w: empty", ErrBadReceipt))
	}
	return rs, errors.Join(errs...)
}
