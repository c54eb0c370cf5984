package stream

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/stretchr/testify/require"
)

// coordinator answers requests to leave the group with these errors, and then with success.
type coordinator struct {
	fails []kafka.Error
	left  []string    // members
	at    []time.Time // when they did
}

// RoundTrip implements kafka.RoundTripper.
func (c *coordinator) RoundTrip(_ context.Context, _ net.Addr, req kafka.Request) (kafka.Response, error) {
	c.left = append(c.left, req.(*leavegroup.Request).Members[0].MemberID) //nolint:forcetypeassert // expel sends no other
	c.at = append(c.at, time.Now())
	if len(c.fails) == 0 {
		return &leavegroup.Response{}, nil
	}
	code := c.fails[0]
	c.fails = c.fails[1:]
	return &leavegroup.Response{ErrorCode: int16(code)}, nil
}

// The former member is taken out after its successor has asked to join, and not if the successor is
// in a generation by then: that member is in it too, so it is alive.
func TestExpel(t *testing.T) {
	const never = time.Hour
	for hazard, c := range map[string]struct {
		joins, isIn time.Duration // after the start
		fails       []kafka.Error
		left        int
	}{
		"killed":          {joins: time.Minute, isIn: never, left: 1},
		"alive":           {joins: time.Minute, isIn: time.Minute + joinTime/2},
		"gone_before":     {joins: time.Minute, isIn: never, fails: []kafka.Error{kafka.UnknownMemberId}, left: 1},
		"no_coordinator":  {joins: time.Minute, isIn: never, fails: []kafka.Error{kafka.NotCoordinatorForGroup, kafka.GroupLoadInProgress}, left: 3},
		"timed_out":       {joins: time.Minute, isIn: time.Minute + joinTime + time.Millisecond, fails: []kafka.Error{kafka.NotCoordinatorForGroup}, left: 1},
		"not_even_joined": {joins: never, isIn: 30 * time.Minute},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kafka := &coordinator{fails: c.fails}
				g := &Group{id: "g", client: &Client{addr: &net.TCPAddr{}, hinting: &hintingTransport{RoundTripper: kafka}, log: slog.New(slog.DiscardHandler)}}
				ctx, isMember := context.WithCancel(t.Context())
				joining := make(chan struct{})
				began := time.Now()
				time.AfterFunc(c.joins, func() { close(joining) })
				time.AfterFunc(c.isIn, isMember)
				g.expel(ctx, "former", joining)
				require.Len(t, kafka.left, c.left)
				for i, member := range kafka.left {
					require.Equal(t, "former", member)
					require.GreaterOrEqual(t, kafka.at[i].Sub(began), c.joins+joinTime)
				}
			})
		})
	}
}
