package stream

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/segmentio/kafka-go"
)

// stickyBalancer gives every member its even share of each topic, and moves as few partitions as it
// can when members join and leave: a partition goes to the member that has room left and ranks
// highest for it, by a rendezvous hash of stable worker names. It does not need to know the
// previous generation, which kafka-go's eager protocol does not carry.
//
// A balancer belongs to one member.
type stickyBalancer struct {
	worker string
	ready  func() error // checked before each join, which is put off if it fails; nil: always ready

	mu              sync.Mutex     // guards divided
	partitionCounts map[string]int // partitions by topic that this member divided at its last join; nil: it is not the leader
}

var _ kafka.GroupBalancer = (*stickyBalancer)(nil)

// lastPartitionCounts returns how many partitions of each topic this member has divided among all
// members, or false if another member is the leader.
func (b *stickyBalancer) lastPartitionCounts() (map[string]int, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.partitionCounts, b.partitionCounts != nil
}

// ProtocolName implements kafka.GroupBalancer.
func (b *stickyBalancer) ProtocolName() string { return "sealift-sticky" }

// UserData implements kafka.GroupBalancer: it returns the stable worker name. kafka-go calls it
// before each join, and puts the join off if it fails. The leader is elected after that.
func (b *stickyBalancer) UserData() ([]byte, error) {
	if b.ready != nil {
		if err := b.ready(); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.partitionCounts = nil
	return []byte(b.worker), nil
}

// AssignGroups implements kafka.GroupBalancer.
func (b *stickyBalancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	out := kafka.GroupMemberAssignments{}
	byTopic, divided := map[string][]int{}, map[string]int{}
	for _, p := range partitions {
		byTopic[p.Topic] = append(byTopic[p.Topic], p.ID)
		divided[p.Topic]++
	}
	b.mu.Lock()
	b.partitionCounts = divided
	b.mu.Unlock()
	for topic, ids := range byTopic {
		slices.Sort(ids)
		var takers []kafka.GroupMember
		for _, m := range members {
			if slices.Contains(m.Topics, topic) {
				takers = append(takers, m)
			}
		}
		// If two processes share a name by mistake, the member id decides.
		slices.SortFunc(takers, func(x, y kafka.GroupMember) int {
			if c := strings.Compare(string(x.UserData), string(y.UserData)); c != 0 {
				return c
			}
			return strings.Compare(x.ID, y.ID)
		})
		for i, owned := range divide(takers, topic, ids) {
			if out[takers[i].ID] == nil {
				out[takers[i].ID] = map[string][]int{}
			}
			out[takers[i].ID][topic] = owned
		}
	}
	return out
}

// divide divides the partitions of a topic among the takers; their shares differ by at most one.
func divide(takers []kafka.GroupMember, topic string, ids []int) [][]int {
	owned := make([][]int, len(takers))
	if len(takers) == 0 {
		return owned
	}
	share, larger := len(ids)/len(takers), len(ids)%len(takers)
	for _, id := range ids {
		best, bestRank := -1, uint64(0)
		for i, m := range takers {
			room := len(owned[i]) < share || (len(owned[i]) == share && larger > 0)
			if rank := rendezvous(m.UserData, topic, id); room && (best < 0 || rank > bestRank) {
				best, bestRank = i, rank
			}
		}
		if len(owned[best]) == share {
			larger--
		}
		owned[best] = append(owned[best], id)
	}
	return owned
}

func rendezvous(worker []byte, topic string, partition int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(worker)
	_, _ = h.Write([]byte("\x00" + topic + "\x00" + strconv.Itoa(partition)))
	// fnv's last bytes hardly affect the high bits: mix (splitmix64).
	x := h.Sum64()
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
