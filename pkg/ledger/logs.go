package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/objstore"
)

// Logs returns the partitions of a topic that have a chain, in order;
// incarnation "" stands for all of the topic.
func Logs(ctx context.Context, store objstore.Store, topic, incarnation string) ([]Log, error) {
	return FindLogs(ctx, store, topic, incarnation, func(string) {})
}

// FindLogs is Logs, with one request for each partition; topic "" stands for
// all topics and incarnations. Objects that are no entries are passed over, and
// told to stray: of a folder that holds no chain, its first.
func FindLogs(ctx context.Context, store objstore.Store, topic, incarnation string, stray func(key string)) ([]Log, error) {
	prefix := "ledger/"
	if topic != "" {
		prefix += topic + "/"
		if incarnation != "" {
			prefix += incarnation + "/"
		}
	}
	var logs []Log
	for after := ""; ; {
		infos, err := store.List(ctx, prefix, after, 1)
		if err != nil {
			return nil, fmt.Errorf("list ledgers below %q: %w", prefix, err)
		}
		if len(infos) == 0 {
			return logs, nil
		}
		key := infos[0].Key
		if l, _, ok := ParseEntryKey(key); ok {
			logs = append(logs, l)
			after = entryPrefix(l) + "~" // past every entry of this partition
			continue
		}
		stray(key)
		after = key
		if part := strings.Split(key, "/"); len(part) > 4 && !isPartition(part[3]) {
			after = strings.Join(part[:4], "/") + "/~"
		}
	}
}

// isPartition reports whether a folder of that name may hold a chain.
func isPartition(name string) bool {
	var p int
	_, err := fmt.Sscanf(name, "%d", &p)
	return err == nil && p >= 0 && fmt.Sprintf("%05d", p) == name
}
