package lease

import (
	"context"
	"fmt"
	"time"
)

// Mark stores a marker for ttl, which starts again if the marker exists. A marker may vanish at any
// time: it only caches something that is written elsewhere.
func (c *Client) Mark(ctx context.Context, key string, ttl time.Duration) error {
	if err := c.server.Set(ctx, c.markerKey(key), ttl); err != nil {
		return unavailable(fmt.Sprintf("mark %q", key), err)
	}
	return nil
}

// Marked reports whether key is marked.
func (c *Client) Marked(ctx context.Context, key string) (bool, error) {
	is, err := c.server.Exists(ctx, c.markerKey(key))
	if err != nil {
		return false, unavailable(fmt.Sprintf("look up marker %q", key), err)
	}
	return is, nil
}

func (c *Client) markerKey(key string) string { return keyPrefix + c.namespace + "mark:" + key }
