package stream

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/segmentio/kafka-go"
)

// sortByPartition returns the records sorted by partition, otherwise in their order, and the
// partition of each.
//
// The records of a key that is spread go to the partitions that follow the key's own. Giving the
// source several keys would spread it less evenly: the hashes of 8 keys hit only 5 of 8 partitions.
func (p *Producer) sortByPartition(records []Record, ids []int) ([]Record, []int) {
	to := make([]int, len(records))
	sorted, own := true, 0
	for i := range records {
		r := &records[i]
		if i == 0 || !bytes.Equal(r.Key, records[i-1].Key) { // records of one request usually have the same key
			own = keyPartition(r.Key, ids)
		}
		to[i] = own
		if p.cfg.Spread != nil {
			if over, by := p.cfg.Spread(r); over > 1 {
				to[i] = (own + keyPartition(by, ids[:min(over, len(ids))])) % len(ids)
			}
		}
		sorted = sorted && (i == 0 || to[i-1] <= to[i])
	}
	if sorted {
		return records, to
	}
	order := make([]int, len(records))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(to[a], to[b]) })
	grouped, theirs := make([]Record, len(records)), make([]int, len(records))
	for i, from := range order {
		grouped[i], theirs[i] = records[from], to[from]
	}
	return grouped, theirs
}

// keyPartition chooses the same partition as the Java client, so that other producers put a key
// into the same one.
func keyPartition(key []byte, ids []int) int {
	return kafka.Murmur2Balancer{}.Balance(kafka.Message{Key: key}, ids...)
}
