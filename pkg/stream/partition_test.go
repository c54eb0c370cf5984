package stream

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// spreadOver spreads the records of "hot" over n partitions by their values.
func spreadOver(n int) func(r *Record) (int, []byte) {
	return func(r *Record) (int, []byte) {
		if string(r.Key) == "hot" {
			return n, r.Value
		}
		return 1, nil
	}
}

// hotRecords returns n records, of which four of five have the same source.
func hotRecords(n int) (records []Record) {
	for i := range n {
		key := []byte("hot")
		if i%5 == 4 {
			key = fmt.Appendf(nil, "cold%d", i%7)
		}
		records = append(records, Record{Key: key, Value: fmt.Appendf(nil, "message-%d", i), Offset: int64(i)})
	}
	return records
}

func TestHotKeyIsSpread(t *testing.T) {
	ids := []int{0, 1, 2, 3, 4, 5, 6, 7}
	records := hotRecords(20_000)
	for over, partitions := range map[int]int{0: 1, 1: 1, 2: 2, 3: 3, 8: 8, 10_000: 8} {
		t.Run(fmt.Sprint(over), func(t *testing.T) {
			p := &Producer{cfg: ProducerConfig{Spread: spreadOver(over)}}
			grouped, to := p.sortByPartition(records, ids)
			require.True(t, slices.IsSorted(to), "records are not grouped by partition")
			hot := map[int]int{}
			last := map[int]int64{}
			where := map[string]int{}
			for i, r := range grouped {
				if before, ok := last[to[i]]; ok {
					require.Greater(t, r.Offset, before, "records of a partition changed their order")
				}
				last[to[i]] = r.Offset
				where[string(r.Value)] = to[i]
				if string(r.Key) == "hot" {
					hot[to[i]]++
				} else {
					require.Equal(t, keyPartition(r.Key, ids), to[i], "a record of another key was moved")
				}
			}
			require.Len(t, where, len(records), "records are missing or doubled")
			require.Len(t, hot, partitions)
			for n, got := range hot {
				require.InEpsilon(t, 16_000/partitions, got, 0.05, "partition %d", n)
			}
			require.Contains(t, hot, keyPartition([]byte("hot"), ids), "the key's own partition is not used")
			// A record that is sent again, alone and later, goes to the same partition as its copy.
			for i := range records {
				_, again := p.sortByPartition(records[i:i+1], ids)
				require.Equal(t, where[string(records[i].Value)], again[0])
			}
		})
	}
}

func TestRecordsKeepOrderWithoutSpread(t *testing.T) {
	records := hotRecords(10)[:4]
	grouped, to := (&Producer{}).sortByPartition(records, []int{0, 1, 2})
	require.Same(t, &records[0], &grouped[0])
	require.Equal(t, []int{to[0], to[0], to[0], to[0]}, to)
}
