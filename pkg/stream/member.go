package stream

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/sleep"
)

// noteMember notes who this worker is in the group.
func (g *Group) noteMember(id string) {
	if g.memberFile == "" || id == g.noted {
		return
	}
	if err := os.WriteFile(g.memberFile, []byte(id+"\n"), 0o600); err != nil {
		g.client.log.Warn("after a restart, the session of this process will have to time out", "group", g.id, "err", err)
		return
	}
	g.noted = id
}

// formerMember returns the member that the file names, or "" if there is none. A note that cannot be
// read saves nothing, but it is no reason not to join.
func (g *Group) formerMember() string {
	if g.memberFile == "" {
		return ""
	}
	id, err := os.ReadFile(g.memberFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.client.log.Warn("the session of this worker's former process may have to time out", "group", g.id, "err", err)
	}
	return strings.TrimSpace(string(id))
}

// joinTime is how long a request to join takes at most, if Kafka is well.
const joinTime = 500 * time.Millisecond

// expel takes this worker's former member out of the group, once its successor is in it. If it went
// first, the others would divide its partitions among themselves, only to give them back. It tries
// until ctx ends, with the group's first generation: the former member is gone then, or has joined
// it and is alive, as when this worker's disk is a copy of another's.
func (g *Group) expel(ctx context.Context, former string, joining <-chan struct{}) {
	select {
	case <-joining:
	case <-ctx.Done():
		return
	}
	backoff := jitter.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}
	for err := sleep.For(ctx, joinTime); err == nil; err = backoff.Wait(ctx) {
		err := g.remove(ctx, former)
		if err == nil || ctx.Err() != nil {
			return
		}
		g.joinFails.Do(func(suppressed int) {
			g.client.log.Warn("the group waits for the session of this worker's former process", "group", g.id, "err", err, "suppressed", suppressed)
		})
	}
}

// remove takes a member out of the group. It is no error if it is not in it.
func (g *Group) remove(ctx context.Context, member string) error {
	res, err := callAPI(ctx, g.client.api(callTimeout).LeaveGroup, &kafka.LeaveGroupRequest{
		GroupID: g.id, Members: []kafka.LeaveGroupRequestMember{{ID: member}},
	})
	if err == nil {
		err = cmp.Or(res.Error, res.Members[0].Error)
	}
	if errors.Is(err, kafka.UnknownMemberId) {
		return nil
	}
	return err
}
