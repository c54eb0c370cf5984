package destination

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// trialSource is the source id below which a trial object is stored, so that it is not among a
// source's own files. The catalog does not allow a source with this id.
const trialSource = catalog.ReservedSourceID

// TrialObject returns a file like those of deliveries, with one line in it.
func TrialObject(t catalog.Target, source string) (Object, error) {
	now := time.Now().UTC()
	id := "sealift-check-" + uuid.NewString()
	at := now.Format("2006-01-02T15:04:05.000Z")
	line, err := json.Marshal(map[string]any{
		"anonymousId": "sealift-check", "channel": "server", "context": map[string]any{"library": map[string]string{"name": "sealift"}},
		"event": "Sealift Check", "integrations": map[string]any{}, "messageId": id, "originalTimestamp": at, "projectId": source,
		"properties": map[string]any{}, "receivedAt": at, "sentAt": at, "timestamp": at, "type": "track", "version": 2,
	})
	if err != nil {
		return Object{}, fmt.Errorf("write a trial line: %w", err)
	}
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	if _, err := z.Write(append(line, '\n')); err != nil {
		return Object{}, fmt.Errorf("compress a trial line: %w", err)
	}
	if err := z.Close(); err != nil {
		return Object{}, fmt.Errorf("compress a trial line: %w", err)
	}
	sum := sha256.Sum256(body.Bytes())
	l := ledger.Log{Topic: "sealift-check", Incarnation: "0"}
	f := &ledger.File{
		Source: source, Hour: now.Truncate(time.Hour).UnixMilli(), Received: now.UnixMilli(), Records: 1, SHA256: hex.EncodeToString(sum[:]),
	}
	return Object{
		Key: delivery.ObjectKey(t.Prefix, l, f), Metadata: delivery.ObjectMetadata(l, f),
		Body: bytes.NewReader(body.Bytes()), SHA256: sum,
	}, nil
}

// probe sends the PUT of a delivery with a checksum that does not match its body. nil means that
// the store found everything else in order, and has stored nothing: S3 decides by a request's
// headers whether it is allowed, and detects the wrong checksum only after it has read the body.
//
// If the store does not verify checksums, probe returns errStored with the object that is now
// stored.
func (p *Putter) probe(ctx context.Context, t catalog.Target, source string, alter func(*objstore.PutOptions)) (Object, Result, error) {
	obj, err := TrialObject(t, source)
	if err != nil {
		return obj, Result{}, err
	}
	obj.SHA256 = sha256.Sum256([]byte("not what the body holds"))
	obj.alter = alter
	r, err := p.Put(ctx, t, obj)
	var e *objstore.Error
	switch {
	case err == nil:
		return obj, r, errStored
	case errors.As(err, &e) && isChecksumMismatch(e):
		return obj, r, nil
	}
	return obj, r, err
}

var errStored = errors.New("the store accepted a body that does not match its checksum")
