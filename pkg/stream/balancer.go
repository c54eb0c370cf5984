package stream

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/segmentio/kafka-go"
)

// stickyBalancer gives every member its even share of each topic and moves as
// few partitions as it can when members come and go: a partition goes to the
// member that ranks highest for it by rendezvous hash of stable worker names
// and has room left. It needs no memory of the former generation, which
// kafka-go's eager protocol does not carry.
//
// It is for one member.
type stickyBalancer struct {
	worker string
	ready  func() error // asked before each join; nil: it is

	mu      sync.Mutex     // guards divided
	divided map[string]int // partitions by topic, as this member divided them when it joined last; nil: it does not lead
}

var _ kafka.GroupBalancer = (*stickyBalancer)(nil)

// lastDivision returns how many partitions of each topic this member divided
// among all, or false if another leads the group.
func (b *stickyBalancer) lastDivision() (map[string]int, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.divided, b.divided != nil
}

// ProtocolName implements kafka.GroupBalancer.
func (b *stickyBalancer) ProtocolName() string { return "sealift-sticky" }

// UserData implements kafka.GroupBalancer: the stable worker name. kafka-go asks
// for it whenever it joins, and joins later if it is an error; who leads is
// decided after that.
func (b *stickyBalancer) UserData() ([]byte, error) {
	if b.ready != nil {
		if err := b.ready(); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.divided = nil
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
	b.divided = divided
	b.mu.Unlock()
	for topic, ids := range byTopic {
		slices.Sort(ids)
		var takers []kafka.GroupMember
		for _, m := range members {
			if slices.Contains(m.Topics, topic) {
				takers = append(takers, m)
			}
		}
		// Two processes may by mistake share a name: the member id decides.
		slices.SortFunc(takers, func(x, y kafka.GroupMember) int {
			if c := strings.Compare(string(x.UserData), string(y.UserData)); c != 0 {
				return c
			}
			return strings.Compare(x.ID, y.ID)
		})
		for i, owned := range spread(takers, topic, ids) {
			if out[takers[i].ID] == nil {
				out[takers[i].ID] = map[string][]int{}
			}
			out[takers[i].ID][topic] = owned
		}
	}
	return out
}

// spread divides the partitions of a topic over the takers: shares differ by
// at most one.
func spread(takers []kafka.GroupMember, topic string, ids []int) [][]int {
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
	// fnv's last bytes barely reach the high bits: mix (splitmix64).
	x := h.Sum64()
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
