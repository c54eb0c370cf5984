// Package sample makes realistic sample events: the Tracking API calls that a shop's web site, apps
// and servers would send, in any number, from any number of sources. It is for the demo, the
// benchmarks and the end-to-end tests.
//
// It promises that the same Config yields the same events byte for byte, and that no two events of
// one Generator have the same messageId. It sends nothing and knows nothing about write keys,
// batches or the stored form of an event.
package sample

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

// Config determines which events are made.
type Config struct {
	// Seed selects the sequence.
	Seed uint64
	// Sources is how many sources the events belong to; default 5. The first Sources events go to
	// each source once. The rest are distributed as in practice: a few sources are hot, most are
	// quiet.
	Sources int
	// Start is the time of the first event; default 2026-01-01 00:00 UTC.
	Start time.Time
	// Step is the time between two events; default 40ms.
	Step time.Duration
}

// Event is one call to the Tracking API.
type Event struct {
	// Source is the index of the event's source, from 0 to Sources-1.
	Source int
	// Type is the kind of call: track, page, screen, identify, group or alias.
	Type string
	// MessageID is the event's messageId, at most 99 characters.
	MessageID string
	// Body is the call as an SDK sends it: one compact JSON object including its type, smaller than
	// 4 KB. It belongs to the caller.
	Body []byte
}

// Generator makes events one after another. It is not safe for concurrent use.
type Generator struct {
	cfg     Config
	rand    *rand.Rand
	source  *rand.Zipf
	visitor *rand.Zipf
	next    uint64
}

// New returns a generator at its first event.
func New(cfg Config) *Generator {
	if cfg.Sources <= 0 {
		cfg.Sources = 5
	}
	if cfg.Start.IsZero() {
		cfg.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if cfg.Step <= 0 {
		cfg.Step = 40 * time.Millisecond
	}
	r := rand.New(rand.NewPCG(cfg.Seed, 0x5ea11f7))
	return &Generator{
		cfg:     cfg,
		rand:    r,
		source:  rand.NewZipf(r, 1.1, 8, uint64(cfg.Sources-1)),
		visitor: rand.NewZipf(r, 1.01, 50, 100_000),
	}
}

// Take returns the next n events.
func (g *Generator) Take(n int) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for range n {
			if !yield(g.Next()) {
				return
			}
		}
	}
}

// Next returns the next event.
func (g *Generator) Next() Event {
	source := int(g.next)
	if g.next >= uint64(g.cfg.Sources) {
		source = int(g.source.Uint64())
	}
	at := g.cfg.Start.Add(time.Duration(g.next) * g.cfg.Step).UTC()
	p := platforms[source%len(platforms)]
	v := g.newVisitor()
	c := call{
		AnonymousID: v.anonymousID,
		UserID:      v.userID,
		MessageID:   p.messagePrefix + g.messageID(),
		Timestamp:   at.Format("2006-01-02T15:04:05.000Z07:00"),
		Context:     g.context(p, v),
	}
	g.fillCall(&c, p, v)
	body, err := json.Marshal(&c)
	if err != nil { // strings, numbers and maps of them can always be encoded
		panic(err)
	}
	g.next++
	return Event{Source: source, Type: c.Type, MessageID: c.MessageID, Body: body}
}

// call is the union of all calls, in the order SDKs write them.
type call struct {
	Type        string         `json:"type"`
	Event       string         `json:"event,omitempty"`
	Category    string         `json:"category,omitempty"`
	Name        string         `json:"name,omitempty"`
	Properties  map[string]any `json:"properties,omitempty"`
	Traits      map[string]any `json:"traits,omitempty"`
	GroupID     string         `json:"groupId,omitempty"`
	PreviousID  string         `json:"previousId,omitempty"`
	AnonymousID string         `json:"anonymousId,omitempty"`
	UserID      string         `json:"userId,omitempty"`
	MessageID   string         `json:"messageId"`
	Timestamp   string         `json:"timestamp"`
	Context     map[string]any `json:"context"`
}

// messageID returns a random UUID whose last six bytes are a counter, so that no two are equal.
func (g *Generator) messageID() string {
	id := g.uuid()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], g.next)
	copy(id[10:], n[2:])
	return id.String()
}

func (g *Generator) uuid() uuid.UUID {
	return uuidOf(g.rand.Uint64(), g.rand.Uint64())
}

func uuidOf(hi, lo uint64) uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	id[6] = id[6]&0x0f | 0x40 // version 4
	id[8] = id[8]&0x3f | 0x80 // RFC 9562 variant
	return id
}

// visitor is a person; the same number always stands for the same person.
type visitor struct {
	number      uint64
	anonymousID string
	userID      string // empty before the first login
}

func (g *Generator) newVisitor() visitor {
	n := g.visitor.Uint64()
	v := visitor{number: n, anonymousID: uuidOf(n*0x9e3779b97f4a7c15+g.cfg.Seed, ^n).String()}
	if n%3 != 0 {
		v.userID = fmt.Sprintf("user_%06d", n)
	}
	return v
}

// pick picks a random element.
func pick[T any](g *Generator, list []T) T { return list[g.rand.IntN(len(list))] }

// money returns a random amount with two decimals.
func (g *Generator) money(limit int) float64 {
	return math.Round(float64(g.rand.IntN(limit*100)))/100 + 0.99
}
