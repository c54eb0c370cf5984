package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/spelling"
)

func newSourcesCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "sources",
		GroupID: groupOperate,
		Short:   "See what sources sent and which events were not taken, and send those again",
		Long: `What operators do about a source: see what was stored, and which events became dead letters and why, and
send dead letters again once the reason is fixed. A dead letter is an event that was answered 200, or a record
of the events topic, that is in no file.`,
		Example: "  sealift sources status\n  sealift sources redrive --reason no_user --dry-run",
	}
	c.AddCommand(newSourcesStatusCommand(a), newSourcesRedriveCommand(a))
	return c
}

// deadLetters returns access to Kafka for reading dead letters.
func (s *services) deadLetters() deadletter.Kafka {
	return deadletter.Kafka{
		BoundsSince: s.kafka.BoundsSince,
		Fetcher:     func(topic string, partition int) deadletter.Fetcher { return s.kafka.NewFetcher(topic, partition) },
	}
}

// readKnownSources returns the catalog's sources by id, or none if the catalog cannot be read.
func readKnownSources(ctx context.Context, s *services) map[string]catalog.SourceRef {
	live := tryReadCatalog(ctx, s)
	if live == nil {
		return map[string]catalog.SourceRef{}
	}
	return sourcesOf(live.Snapshot())
}

// sourcesOf returns the sources of a catalog by id.
func sourcesOf(snapshot *catalog.Snapshot) map[string]catalog.SourceRef {
	known := map[string]catalog.SourceRef{}
	for _, w := range snapshot.Workspaces() {
		for _, source := range w.Sources {
			known[source.ID] = catalog.SourceRef{Source: source, Workspace: w.ID}
		}
	}
	return known
}

// unknownSourceError is the error for a source of which nothing is known, with a hint. It is for
// when nothing was found: a typo must not look like good news.
func unknownSourceError(id string, known map[string]catalog.SourceRef) error {
	var named []string
	for other, ref := range known {
		if ref.Name == id {
			named = append(named, other)
		}
	}
	slices.Sort(named)
	hint := "`sealift catalog get` lists them"
	if near := spelling.Suggest(id, slices.Collect(maps.Keys(known))); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	if len(named) > 0 {
		hint = "it is the name of one, so write its id: " + strings.Join(named, " or ")
	}
	hash := catalog.HashKey(id)
	for other, ref := range known {
		if slices.Contains(ref.WriteKeyHashes, hash) {
			return fmt.Errorf("that is a write key of source %q: write the source's id", other) // without repeating the key
		}
	}
	if strings.HasPrefix(id, "wk_") {
		return errors.New("that is a write key, and of no source: write a source's id; `sealift catalog get` lists them")
	}
	return fmt.Errorf("nothing is known of source %q; %s", id, hint)
}
