package objstore

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealift/sealift/pkg/sleep"
)

// ErrUnconditional says that a store overwrites objects in spite of create-if-absent. The ledger's
// chain would fork.
var ErrUnconditional = errors.New("the store ignores If-None-Match")

// probeKey is the same for all processes and times, so that probes leave only one small object and
// need no permission to delete.
const probeKey = "probe/if-none-match"

// probeTries limits how often a probe that conflicts with another one (409) is repeated.
const probeTries = 10

// Probe refuses a store on which exactly-once is impossible. It puts a key twice with IfAbsent: the
// second PUT must return ErrExists, and reading must return the same bytes although they are
// declared as gzip. The error names the store and the fix. It matches ErrUnconditional, or the
// class of the request that failed.
func Probe(ctx context.Context, store Store) error {
	body := probeBody()
	if err := probePut(ctx, store, body); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("probe %v: %w", store, err)
	}
	switch err := probePut(ctx, store, body); {
	case err == nil:
		return fmt.Errorf("probe %v: %w: object %q was put twice and the second was not refused with 412; "+
			"use AWS S3 or a server that honours conditional writes, and no proxy that drops the header", store, ErrUnconditional, probeKey)
	case !errors.Is(err, ErrExists):
		return fmt.Errorf("probe %v: %w", store, err)
	}
	got, err := Read(ctx, store, probeKey, int64(len(body)))
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("probe %v: %w", store, err)
	}
	if !bytes.Equal(got, body) {
		return fmt.Errorf("probe %v: object %q reads back other bytes than were put: "+
			"a proxy that decompresses? delete the object if something else wrote it", store, probeKey)
	}
	return nil
}

func probePut(ctx context.Context, store Store, body []byte) error {
	for try := 1; ; try++ {
		_, err := store.Put(ctx, probeKey, bytes.NewReader(body), PutOptions{
			IfAbsent: true, ContentType: "text/plain", ContentEncoding: "gzip",
		})
		if !errors.Is(err, ErrConflict) || try == probeTries {
			return err
		}
		if err := sleep.For(ctx, time.Duration(try)*20*time.Millisecond); err != nil { // another process is probing at the same time
			return err
		}
	}
}

// probeBody returns an uncompressed gzip member, so that its bytes are the same with every version
// of the compressor.
func probeBody() []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err == nil {
		_, err = io.WriteString(w, "sealift checks that this store honours If-None-Match\n")
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // a constant into memory
	}
	return b.Bytes()
}
