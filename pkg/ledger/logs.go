package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/objstore"
)

// Logs returns the partitions of a topic that have a chain, in order. Incarnation "" stands for all
// incarnations.
func Logs(ctx context.Context, store objstore.Store, topic, incarnation string) ([]Log, error) {
	return FindLogs(ctx, store, topic, incarnation, func(string) {})
}

// FindLogs is like Logs, with one request for each partition. Topic "" stands for all topics and
// incarnations. Objects that are not entries are skipped and reported to stray; of a folder that
// holds no entries, only the first object is.
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
		switch part := strings.Split(key, "/"); {
		case len(part) > 4 && !isPartition(part[3]):
			after = past(strings.Join(part[:4], "/"))
		case len(part) > 5: // below a chain's folder
			after = past(strings.Join(part[:5], "/"))
		default:
			after = key
		}
	}
}

// past returns the position in a listing after a whole folder, which may hold more objects than can
// be looked at one by one.
func past(folder string) string { return folder + "0" } // "0" follows "/"

// isPartition reports whether a folder with that name may hold a chain.
func isPartition(name string) bool {
	p, err := strconv.ParseInt(name, 10, 32) // partitions are int32 in Kafka; a number of milliseconds is not one
	return err == nil && p >= 0 && fmt.Sprintf("%05d", p) == name
}
