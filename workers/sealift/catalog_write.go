package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/stream"
)

const (
	// maxWorkspaceBytes limits the record of a workspace: some 20,000 sources, each with a
	// destination. Sealift creates the catalog topic with this limit; managed brokers allow no
	// more.
	maxWorkspaceBytes = 8 << 20
	// catalogBatchBytes limits a batch of several records, so that it fits into a topic that
	// somebody else created with the brokers' default limit of 1 MiB.
	catalogBatchBytes = 900_000
	// recordOverhead is the most that a batch takes in addition to a record's key and value.
	recordOverhead = 1 << 10
)

// writeCatalog writes records to the catalog topic: workspace id -> the result of Encode, or nil to
// delete. If a record is known to be too large for the topic, nothing is written. After any other
// error, each record may or may not have been written.
func (s *services) writeCatalog(ctx context.Context, values map[string][]byte) error {
	if err := s.checkCatalogSizes(ctx, values); err != nil {
		return err
	}
	for _, batch := range catalogBatches(values) {
		ctx, cancel := context.WithTimeoutCause(ctx, catalogTimeout, errors.New("it took too long"))
		err := s.catalogProducer().Produce(ctx, batch...)
		cancel()
		if errors.Is(err, stream.ErrRecordTooLarge) {
			return fmt.Errorf("%w: workspace %q takes %s; %s", err, batch[0].Key, progress.Bytes(int64(len(batch[0].Value))), s.raiseCatalogLimitHint())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkCatalogSizes refuses workspaces that are too large for the topic. Sizes are taken before
// compression: whether a workspace fits must not depend on how well it happens to compress.
func (s *services) checkCatalogSizes(ctx context.Context, values map[string][]byte) error {
	limit, err := s.kafka.MaxRecordBytes(ctx, s.cfg.Kafka.CatalogTopic)
	if err != nil { // for example because of an ACL; then the broker decides
		s.log.Debug("the limit of the catalog topic is not known", "err", err)
		limit = maxWorkspaceBytes
	}
	var refused []error
	for _, id := range slices.Sorted(maps.Keys(values)) {
		switch size := len(id) + len(values[id]) + recordOverhead; {
		case size > maxWorkspaceBytes:
			refused = append(refused, fmt.Errorf("workspace %q takes %s, and %s is the most; move some of its sources, with their destinations, into a workspace of their own",
				id, progress.Bytes(int64(size)), progress.Bytes(maxWorkspaceBytes)))
		case size > limit:
			refused = append(refused, fmt.Errorf("workspace %q takes %s, and topic %q takes %s a record; %s",
				id, progress.Bytes(int64(size)), s.cfg.Kafka.CatalogTopic, progress.Bytes(int64(limit)), s.raiseCatalogLimitHint()))
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("nothing was written: %w", errors.Join(refused...))
	}
	return nil
}

func (s *services) raiseCatalogLimitHint() string {
	return "raise it: " + s.kafka.RaiseMaxBytesCommand(s.cfg.Kafka.CatalogTopic, maxWorkspaceBytes)
}

// catalogBatches splits records into batches. A batch has at most catalogBatchBytes, or is one
// larger record. Larger records come first: if the topic's limit is unknown, the broker may refuse
// one, and then no small ones have been written.
func catalogBatches(values map[string][]byte) [][]stream.Record {
	var large, batches [][]stream.Record
	room := 0
	for _, id := range slices.Sorted(maps.Keys(values)) {
		r, size := stream.Record{Key: []byte(id), Value: values[id]}, len(id)+len(values[id])+64
		switch {
		case size > catalogBatchBytes:
			large = append(large, []stream.Record{r})
			continue
		case size > room:
			batches, room = append(batches, nil), catalogBatchBytes
		}
		last := &batches[len(batches)-1]
		*last, room = append(*last, r), room-size
	}
	return append(large, batches...)
}

// write is like writeCatalog, but after an error it reads the catalog, to say what was written.
func (t *catalogTopic) write(ctx context.Context, values map[string][]byte) error {
	err := t.writeCatalog(ctx, values)
	if err == nil {
		return nil
	}
	now, readErr := t.read(ctx)
	if readErr != nil {
		return unfinishedError{fmt.Errorf("%w; what was written is not known (%w): `sealift catalog diff` shows it, and the same command again finishes it", err, readErr)}
	}
	missing := notStored(now, values)
	if len(missing) == len(values) {
		return err
	}
	if len(missing) == 0 {
		t.log.Warn("the brokers reported an error, but all is written", "err", err)
		return nil
	}
	shown := strings.Join(missing[:min(3, len(missing))], ", ")
	if more := len(missing) - 3; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	return &exitError{exitPartial, fmt.Errorf("%d of %d workspaces are written and in force, %s not: %w; the same command again writes the rest",
		len(values)-len(missing), len(values), shown, err)}
}

// notStored returns the ids of the values that the catalog does not have.
func notStored(now *catalog.Snapshot, values map[string][]byte) []string {
	stored := map[string][]byte{}
	for _, w := range now.Workspaces() {
		stored[w.ID] = catalog.Encode(w)
	}
	var missing []string
	for _, id := range slices.Sorted(maps.Keys(values)) {
		if !bytes.Equal(stored[id], values[id]) {
			missing = append(missing, id)
		}
	}
	return missing
}
