package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/sleep"
)

// noteMember notes who this worker is in the group.
func (g *Group) noteMember(id string) error {
	if g.memberFile == "" || id == g.noted {
		return nil
	}
	err := os.WriteFile(g.memberFile, []byte(id+"\n"), 0o600)
	if err == nil {
		g.noted = id
	}
	return err
}

// readMember returns the member that the file names, or "" if there is none.
func readMember(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	id, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the former member: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// joinTime is how long a request to join takes at most, if Kafka is well.
const joinTime = 500 * time.Millisecond

// expel takes this worker's former member out of the group, once its successor is in it. If it went
// first, the others would divide its partitions among themselves, only to give them back. It tries
// until that member's session has timed out anyway.
func (g *Group) expel(former string, joining <-chan struct{}, session time.Duration) {
	select {
	case <-joining:
	case <-g.closed:
		return
	}
	ctx, cancel := context.WithTimeout(g.connCtx, session)
	defer cancel()
	backoff := jitter.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}
	err := sleep.For(ctx, joinTime)
	for ctx.Err() == nil {
		if err = g.remove(ctx, former); err == nil {
			return
		}
		_ = backoff.Wait(ctx)
	}
	if g.connCtx.Err() == nil {
		g.client.log.Warn("the group had to wait for the session of this worker's former process", "group", g.id, "err", err)
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
