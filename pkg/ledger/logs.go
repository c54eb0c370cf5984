package ledger

import (
	"context"
	"fmt"
	"slices"
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
			after = afterFolder(strings.Join(part[:4], "/"))
		case len(part) > 5: // below a chain's folder
			after = afterFolder(strings.Join(part[:5], "/"))
		default:
			after = key
		}
	}
}

// NoPartitionError says that a partition is not among the logs of a topic and incarnation, and
// which are.
func NoPartitionError(logs []Log, topic, incarnation string, partition int) error {
	var have []int
	for _, l := range logs {
		if l.Topic == topic && l.Incarnation == incarnation {
			have = append(have, l.Partition)
		}
	}
	switch {
	case partition < 0 || len(have) == 0:
		return fmt.Errorf("topic %q, incarnation %q has no ledger in this bucket", topic, incarnation)
	case slices.Contains(have, partition): // something refers to it
		return fmt.Errorf("partition %d of topic %q, incarnation %q has lost its whole ledger", partition, topic, incarnation)
	}
	return fmt.Errorf("partition %d: the ledger of topic %q, incarnation %q has %s", partition, topic, incarnation, runs(have))
}

// runs names ascending numbers: "0 to 7, 9".
func runs(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if part := strconv.Itoa(numbers[i]); j > i {
			parts = append(parts, part+" to "+strconv.Itoa(numbers[j]))
		} else {
			parts = append(parts, part)
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

// afterFolder returns the position in a listing after a whole folder, which may hold more objects
// than can be looked at one by one.
func afterFolder(folder string) string { return folder + "0" } // "0" follows "/"

// isPartition reports whether a folder with that name may hold a chain.
func isPartition(name string) bool {
	p, err := strconv.ParseInt(name, 10, 32) // partitions are int32 in Kafka; a number of milliseconds is not one
	return err == nil && p >= 0 && fmt.Sprintf("%05d", p) == name
}
