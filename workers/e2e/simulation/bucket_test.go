package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
)

// bucket is a bucket in the world. Its state is objstore.Memory, which passes the conformance suite
// of stores; its requests go through the scheduler.
type bucket struct {
	*objstore.Memory
	name string
	down way // how every request ends, or well
}

// clientFor returns the bucket as an actor accesses it.
func (b *bucket) clientFor(w *world, a *actor) objstore.Store { return &client{w: w, a: a, b: b} }

type client struct {
	w *world
	a *actor
	b *bucket
}

var _ objstore.Store = (*client)(nil)

// Put implements objstore.Store.
func (c *client) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) (info objstore.Info, err error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return info, &objstore.Error{Op: "put", Bucket: c.b.name, Key: key, Kind: objstore.ErrBody, Err: err}
	}
	apply := func() (objstore.Info, error) {
		info, err := c.b.Memory.Put(context.Background(), key, bytes.NewReader(data), opts)
		if err == nil {
			c.w.judge.put(c.b, key, data, c.a)
		}
		return info, err
	}
	o := &op{actor: c.a, kind: "put " + c.b.name, key: key, ways: []way{refused, failing, cut, lost, ghost, twice, hangs}}
	if opts.IfAbsent {
		o.ways = append(o.ways, clash)
	}
	o.lateEffect = func() { _, _ = apply() }
	o.run = func(out way) {
		if out.effective() {
			info, o.err = apply()
		}
		if out == ghost || out == twice {
			c.w.scheduleGhost(o.kind+" "+key, o.lateEffect)
		}
		c.answer(o, "put", key, out)
	}
	err = c.do(ctx, o, "put", key)
	return info, err
}

// Get implements objstore.Store.
func (c *client) Get(ctx context.Context, key string) (r io.ReadCloser, info objstore.Info, err error) {
	r, err = c.get(ctx, key, key, func(ctx context.Context) (io.ReadCloser, int64, error) {
		r, i, err := c.b.Memory.Get(ctx, key)
		info = i
		return r, i.Size, err
	})
	return r, info, err
}

// GetRange implements objstore.Store.
func (c *client) GetRange(ctx context.Context, key string, from, length int64) (io.ReadCloser, error) {
	return c.get(ctx, key, fmt.Sprintf("%s %d+%d", key, from, length), func(ctx context.Context) (io.ReadCloser, int64, error) {
		r, err := c.b.Memory.GetRange(ctx, key, from, length)
		return r, length, err
	})
}

func (c *client) get(ctx context.Context, key, what string, open func(context.Context) (io.ReadCloser, int64, error)) (r io.ReadCloser, err error) {
	o := &op{actor: c.a, kind: "get " + c.b.name, key: what, ways: []way{refused, cut, torn, hangs}}
	o.run = func(out way) {
		var size int64
		if out == well || out == torn {
			r, size, o.err = open(context.Background())
		}
		if out == torn && o.err == nil {
			r = tornBody{io.LimitReader(r, size/2), c.error("get", key, errCut)}
		}
		c.answer(o, "get", key, out)
	}
	err = c.do(ctx, o, "get", key)
	return r, err
}

// tornBody is a body that breaks off.
type tornBody struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (b tornBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

// Close implements io.Closer.
func (tornBody) Close() error { return nil }

// Head implements objstore.Store.
func (c *client) Head(ctx context.Context, key string) (info objstore.Info, err error) {
	o := &op{actor: c.a, kind: "head " + c.b.name, key: key, ways: []way{refused, cut, hangs}}
	o.run = func(out way) {
		if out == well {
			info, o.err = c.b.Memory.Head(context.Background(), key)
		}
		c.answer(o, "head", key, out)
	}
	err = c.do(ctx, o, "head", key)
	return info, err
}

// List implements objstore.Store.
func (c *client) List(ctx context.Context, prefix, startAfter string, limit int) (infos []objstore.Info, err error) {
	o := &op{actor: c.a, kind: "list " + c.b.name, key: prefix + " " + startAfter, ways: []way{refused, cut, hangs}}
	o.run = func(out way) {
		switch out {
		case well:
			infos, o.err = c.b.Memory.List(context.Background(), prefix, startAfter, limit)
		case stale:
			infos, o.err = c.b.listStale(prefix, startAfter, limit)
		}
		c.answer(o, "list", prefix, out)
	}
	if strings.HasPrefix(prefix, "ledger/") {
		o.ways = append(o.ways, stale)
	}
	err = c.do(ctx, o, "list", prefix)
	return infos, err
}

// listStale lists what the bucket held some seconds ago.
func (b *bucket) listStale(prefix, startAfter string, limit int) (infos []objstore.Info, err error) {
	for info, err := range objstore.All(context.Background(), b.Memory, prefix) {
		if err != nil {
			return nil, err
		}
		if info.Key > startAfter && len(infos) < limit && time.Since(info.LastModified) > 5*time.Second {
			infos = append(infos, info)
		}
	}
	return infos, nil
}

// Delete implements objstore.Store.
func (c *client) Delete(ctx context.Context, key string) error {
	o := &op{actor: c.a, kind: "delete " + c.b.name, key: key, ways: []way{refused, failing, cut, lost, hangs}}
	apply := func() error {
		c.w.judge.beforeDelete(c.b, key)
		return c.b.Memory.Delete(context.Background(), key)
	}
	o.lateEffect = func() { _ = apply() }
	o.run = func(out way) {
		if out.effective() {
			o.err = apply()
		}
		c.answer(o, "delete", key, out)
	}
	return c.do(ctx, o, "delete", key)
}

// answer sets the error of a request that went wrong.
func (c *client) answer(o *op, name, key string, out way) {
	e := &objstore.Error{Op: name, Bucket: c.b.name, Key: key}
	switch out {
	case refused, failing:
		e.Kind, e.Status, e.Code = objstore.ErrUnavailable, 503, "SlowDown"
	case cut, lost, ghost:
		e.Kind, e.Err = objstore.ErrUnavailable, errCut
	case clash:
		e.Kind, e.Status, e.Code = objstore.ErrConflict, 409, "ConditionalRequestConflict"
	case denied:
		e.Kind, e.Status, e.Code = objstore.ErrDenied, 403, "AccessDenied"
	default:
		return
	}
	o.err = e
}

// do returns an error of the store, whatever happened.
func (c *client) do(ctx context.Context, o *op, name, key string) error {
	ctx, cancel := context.WithTimeout(ctx, 70*time.Second) // as pkg/objstore's client does
	defer cancel()
	err := c.w.do(ctx, o)
	var e *objstore.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return c.error(name, key, err)
}

func (c *client) error(name, key string, err error) error {
	return &objstore.Error{Op: name, Bucket: c.b.name, Key: key, Kind: objstore.ErrUnavailable, Err: err}
}
