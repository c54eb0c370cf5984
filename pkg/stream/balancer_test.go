package stream

import (
	"fmt"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

// owners assigns n partitions of topic "t" to the workers.
func owners(t *testing.T, n int, workers ...string) map[int]string {
	t.Helper()
	var members []kafka.GroupMember
	for i, w := range workers {
		members = append(members, kafka.GroupMember{ID: fmt.Sprintf("member-%d-%s", i, w), Topics: []string{"t"}, UserData: []byte(w)})
	}
	var partitions []kafka.Partition
	for p := range n {
		partitions = append(partitions, kafka.Partition{Topic: "t", ID: p})
	}
	out := map[int]string{}
	least, most := n, 0
	for _, m := range members {
		got := new(stickyBalancer).AssignGroups(members, partitions)[m.ID]["t"]
		least, most = min(least, len(got)), max(most, len(got))
		for _, p := range got {
			require.Empty(t, out[p], "partition %d has two owners", p)
			out[p] = string(m.UserData)
		}
	}
	require.Len(t, out, n, "partitions without an owner")
	require.LessOrEqual(t, most-least, 1, "shares differ by more than one")
	return out
}

func TestSharesAreEven(t *testing.T) {
	for n := range 40 {
		for workers := 1; workers <= 9; workers++ {
			var names []string
			for w := range workers {
				names = append(names, fmt.Sprintf("worker-%d", w))
			}
			owners(t, n, names...)
		}
	}
}

func TestOrderOfMembersDoesNotMatter(t *testing.T) {
	require.Equal(t, owners(t, 16, "a", "b", "c"), owners(t, 16, "c", "a", "b"))
}

func TestFewPartitionsMoveWhenAWorkerJoinsOrLeaves(t *testing.T) {
	const n = 64
	before := owners(t, n, "a", "b", "c")
	after := owners(t, n, "a", "b", "c", "d")
	moved := 0
	for p, w := range before {
		if after[p] != w {
			moved++
		}
	}
	require.LessOrEqual(t, moved, n/2, "more than half of the partitions moved")
	require.Equal(t, before, owners(t, n, "b", "c", "a"), "assignment after the worker left again")
}

func TestWorkersWithOneNameBothGetPartitions(t *testing.T) {
	members := []kafka.GroupMember{
		{ID: "1", Topics: []string{"t"}, UserData: []byte("same")},
		{ID: "2", Topics: []string{"t"}, UserData: []byte("same")},
	}
	got := new(stickyBalancer).AssignGroups(members, []kafka.Partition{{Topic: "t", ID: 0}, {Topic: "t", ID: 1}})
	require.Len(t, got["1"]["t"], 1)
	require.Len(t, got["2"]["t"], 1)
}

func TestMembersGetOnlySubscribedTopics(t *testing.T) {
	members := []kafka.GroupMember{
		{ID: "1", Topics: []string{"t"}, UserData: []byte("a")},
		{ID: "2", Topics: []string{"u"}, UserData: []byte("b")},
	}
	got := new(stickyBalancer).AssignGroups(members, []kafka.Partition{{Topic: "t", ID: 0}, {Topic: "u", ID: 0}, {Topic: "v", ID: 0}})
	require.Equal(t, kafka.GroupMemberAssignments{"1": {"t": {0}}, "2": {"u": {0}}}, got)
}

// TestOnlyTheLeaderHasPartitionCounts: a member that joins again is the leader only if it is asked
// to divide again.
func TestOnlyTheLeaderHasPartitionCounts(t *testing.T) {
	b := &stickyBalancer{worker: "a"}
	_, leads := b.lastPartitionCounts()
	require.False(t, leads)
	b.AssignGroups([]kafka.GroupMember{{ID: "m", Topics: []string{"t", "later"}}}, []kafka.Partition{{Topic: "t", ID: 0}, {Topic: "t", ID: 1}})
	divided, leads := b.lastPartitionCounts()
	require.True(t, leads)
	require.Equal(t, map[string]int{"t": 2}, divided)
	require.Zero(t, divided["later"], "partitions of a topic that does not exist yet")
	_, err := b.UserData() // it joins again
	require.NoError(t, err)
	_, leads = b.lastPartitionCounts()
	require.False(t, leads)
}
