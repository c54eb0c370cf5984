package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/stream"
)

// sessionTimeout is how long a silent member stays in its group.
const sessionTimeout = 10 * time.Second

// group is a consumer group: the coordinator's view.
type group struct {
	k         *kafka
	id        string
	topics    []string
	gen       int32
	members   []*member // all that have joined and not left
	current   []*member // of the current generation
	committed map[string]map[int]stream.Mark
	changed   time.Time // when the current generation was formed
	assigned  map[string]*member
}

// member is one process' membership.
type member struct {
	g    *group
	a    *actor
	gen  int32 // the newest generation that the member was told about
	done chan struct{}
	left bool
	// endPending: the next heartbeat will say that the generation is over.
	endPending  bool
	assignments map[string][]stream.Assignment
}

// join makes a process a member; the group is created when it is first joined.
func (c kafkaClient) join(id string, topics []string) *member {
	c.k.w.mu.Lock()
	defer c.k.w.mu.Unlock()
	g := c.k.groups[id]
	if g == nil {
		g = &group{k: c.k, id: id, topics: topics, committed: map[string]map[int]stream.Mark{}, assigned: map[string]*member{}}
		c.k.groups[id] = g
	}
	m := &member{g: g, a: c.a}
	g.members = append(g.members, m)
	slices.SortStableFunc(g.members, func(a, b *member) int { return cmp.Compare(a.a.name, b.a.name) })
	return m
}

// responsive says whether the coordinator hears from the member.
func (m *member) responsive() bool {
	return !m.left && !m.a.dead && (!m.a.paused || time.Since(m.a.pausedAt) < sessionTimeout)
}

// rebalanceNeeded says whether the current generation differs from the responsive members.
func (g *group) rebalanceNeeded() bool {
	for _, m := range g.members {
		if m.responsive() != slices.Contains(g.current, m) {
			return true
		}
	}
	return false
}

// rebalance forms the next generation. Members learn of it in their own time.
func (g *group) rebalance(d *dice) {
	w := g.k.w
	g.gen++
	g.changed = time.Now()
	former := g.current
	g.current = nil
	for _, m := range g.members {
		if m.responsive() {
			g.current = append(g.current, m)
		}
	}
	g.members = slices.DeleteFunc(g.members, func(m *member) bool { return m.left || m.a.dead })
	share := map[*member]map[string][]stream.Assignment{}
	for _, m := range g.current {
		share[m] = map[string][]stream.Assignment{}
	}
	for _, topic := range g.topics {
		for p := range g.k.topics[topic] {
			if len(g.current) == 0 {
				break
			}
			at := fmt.Sprintf("%s/%d", topic, p)
			m := g.assigned[at]
			if !slices.Contains(g.current, m) || d.permille(300) {
				m = g.current[(p+d.n(len(g.current)))%len(g.current)]
				g.assigned[at] = m
			}
			mark, ok := g.committed[topic][p]
			if !ok {
				mark.Committed = -1
			}
			share[m][topic] = append(share[m][topic], stream.Assignment{Partition: p, Mark: mark})
		}
	}
	var names []string
	for _, m := range g.current {
		m.assignments = share[m]
		n := 0
		for _, as := range m.assignments {
			n += len(as)
		}
		names = append(names, fmt.Sprintf("%s(%d)", m.a.name, n))
	}
	w.note("* group %s generation %d: %v", g.id, g.gen, names)
	for _, m := range former {
		g.announceEnd(m)
	}
}

// announceEnd makes the member's next heartbeat say that its generation is over.
func (g *group) announceEnd(m *member) {
	if m.done == nil || m.endPending || m.a.dead {
		return
	}
	m.endPending = true
	o := &op{actor: m.a, kind: "heartbeat", key: g.id, reply: make(chan struct{})}
	// It gets no heartbeat while it commits: otherwise the seed would not decide whether it then
	// sees a tick or the end of the generation first.
	o.ready = func() bool {
		return !g.k.w.isWaitingFor(m.a, "commit "+g.id)
	}
	o.run = func(way) {
		close(m.done)
		m.done, m.endPending = nil, false
	}
	g.k.w.arrive(o)
}

// Next implements the roles' memberships.
func (m *member) Next(ctx context.Context) (gen *stream.Generation, err error) {
	o := &op{actor: m.a, kind: "join", key: m.g.id}
	o.ready = func() bool { return m.gen < m.g.gen && m.done == nil && slices.Contains(m.g.current, m) }
	o.run = func(way) {
		m.gen, m.done = m.g.gen, make(chan struct{})
		id := m.gen
		gen = stream.GenerationForTesting(id, m.assignments, m.done, func(ctx context.Context, topic string, marks map[int]stream.Mark) error {
			return m.commit(ctx, id, topic, marks)
		})
	}
	if err := m.g.k.w.do(ctx, o); err != nil {
		return nil, err
	}
	return gen, nil
}

var errGeneration = errors.New("the generation is over")

// commit is the generation's commit; the coordinator fences earlier generations.
func (m *member) commit(ctx context.Context, gen int32, topic string, marks map[int]stream.Mark) error {
	var at []string
	for _, p := range slices.Sorted(maps.Keys(marks)) {
		at = append(at, fmt.Sprintf("%s/%d@%d", topic, p, marks[p].Committed))
	}
	o := &op{actor: m.a, kind: "commit " + m.g.id, key: strings.Join(at, " "), ways: []way{cut, lost, hangs}}
	effect := func() {
		if m.g.committed[topic] == nil {
			m.g.committed[topic] = map[int]stream.Mark{}
		}
		for p, mark := range marks {
			m.g.k.w.judge.committed(m.g, topic, p, m.g.committed[topic][p].Committed, mark.Committed)
			m.g.committed[topic][p] = mark
		}
	}
	o.run = func(out way) {
		if gen != m.g.gen || m.left {
			o.err = errGeneration
			return
		}
		if out == well || out == lost {
			effect()
		}
		if out != well {
			o.err = errBroker
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // as pkg/stream does
	defer cancel()
	return m.g.k.w.do(ctx, o)
}

// Close implements the roles' memberships: it leaves the group.
func (m *member) Close(context.Context) error {
	m.g.k.w.mu.Lock()
	defer m.g.k.w.mu.Unlock()
	m.left = true
	return nil
}
