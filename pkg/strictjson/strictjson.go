// Package strictjson decodes JSON that Sealift itself wrote: ledger entries, jobs, receipts and
// notes.
//
// It is for every format whose reader must not guess. It promises to refuse what this release would
// not write: fields that it does not know, perhaps from a later release, and bytes after the object.
// It does not validate values.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// Decode decodes b, which is one object and perhaps white space, into v.
func Decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) { // Decoder.More would miss a closing brace
		return errors.New("bytes after the object")
	}
	return nil
}
