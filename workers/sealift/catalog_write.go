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
	// maxWorkspaceBytes is the largest record of a workspace: some 20,000
	// sources, each with a destination. The catalog topic is made to take it;
	// managed brokers allow no more.
	maxWorkspaceBytes = 8 << 20
	// catalogBatchBytes is how much is written at once: what a topic takes that
	// was made by somebody else, with the brokers' default of 1 MiB.
	catalogBatchBytes = 900_000
	// recordOverhead is the most that a batch holds beside a record's key and
	// value.
	recordOverhead = 1 << 10
)

// writeCatalog puts records into the catalog topic: workspace id -> what Encode
// wrote, or nil to delete. If it can be known that the topic does not take one
// of them, nothing is written. After another error any of them may be.
func (s *services) writeCatalog(ctx context.Context, values map[string][]byte) error {
	if err := s.fitCatalog(ctx, values); err != nil {
		return err
	}
	for _, batch := range catalogBatches(values) {
		ctx, cancel := context.WithTimeoutCause(ctx, catalogTimeout, errors.New("it took too long"))
		err := s.catalogProducer().Produce(ctx, batch...)
		cancel()
		if errors.Is(err, stream.ErrRecordTooLarge) {
			return fmt.Errorf("%w: workspace %q takes %s; %s", err, batch[0].Key, progress.Bytes(int64(len(batch[0].Value))), s.raiseCatalogLimit())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fitCatalog refuses workspaces that the topic does not take. They are measured
// before compression: what is taken today must not depend on how well it
// compresses tomorrow.
func (s *services) fitCatalog(ctx context.Context, values map[string][]byte) error {
	takes, err := s.kafka.MaxRecordBytes(ctx, s.cfg.Kafka.CatalogTopic)
	if err != nil { // as when an ACL hides it: the broker will say
		s.log.Debug("the limit of the catalog topic is not known", "err", err)
		takes = maxWorkspaceBytes
	}
	var refused []error
	for _, id := range slices.Sorted(maps.Keys(values)) {
		switch size := len(id) + len(values[id]) + recordOverhead; {
		case size > maxWorkspaceBytes:
			refused = append(refused, fmt.Errorf("workspace %q takes %s, and %s is the most; move some of its sources, with their destinations, into a workspace of their own",
				id, progress.Bytes(int64(size)), progress.Bytes(maxWorkspaceBytes)))
		case size > takes:
			refused = append(refused, fmt.Errorf("workspace %q takes %s, and topic %q takes %s a record; %s",
				id, progress.Bytes(int64(size)), s.cfg.Kafka.CatalogTopic, progress.Bytes(int64(takes)), s.raiseCatalogLimit()))
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("nothing was written: %w", errors.Join(refused...))
	}
	return nil
}

func (s *services) raiseCatalogLimit() string {
	return "raise it: " + s.kafka.RaiseCommand(s.cfg.Kafka.CatalogTopic, maxWorkspaceBytes)
}

// catalogBatches cuts records into batches that a topic takes, each of one
// record or of at most catalogBatchBytes. Those of one record come first, which
// a broker may refuse whose limit could not be asked for: then nothing was
// written.
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

// write stores records as writeCatalog does, and says after an error what came
// of it.
func (t *catalogTopic) write(ctx context.Context, values map[string][]byte) error {
	err := t.writeCatalog(ctx, values)
	if err == nil {
		return nil
	}
	now, unread := t.read(ctx)
	if unread != nil {
		return unfinished{fmt.Errorf("%w; what was written is not known (%w): `sealift catalog diff` shows it, and the same command again finishes it", err, unread)}
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
