package objstore

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// WithPrefix returns the part of a store below prefix as a store of its own, whose keys do not
// contain the prefix. A slash is added to a prefix without one; for the empty prefix the store
// itself is returned. Errors name the whole key.
func WithPrefix(store Store, prefix string) Store {
	prefix = strings.Trim(prefix, "/")
	if prefix == "" {
		return store
	}
	return &prefixStore{store: store, prefix: prefix + "/"}
}

type prefixStore struct {
	store  Store
	prefix string
}

func (p *prefixStore) String() string { return fmt.Sprintf("%v below %q", p.store, p.prefix) }

func (p *prefixStore) Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) (Info, error) {
	info, err := p.store.Put(ctx, p.prefix+key, body, opts)
	return p.strip(info), err
}

func (p *prefixStore) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	body, info, err := p.store.Get(ctx, p.prefix+key)
	return body, p.strip(info), err
}

func (p *prefixStore) GetRange(ctx context.Context, key string, from, length int64) (io.ReadCloser, error) {
	return p.store.GetRange(ctx, p.prefix+key, from, length)
}

func (p *prefixStore) Head(ctx context.Context, key string) (Info, error) {
	info, err := p.store.Head(ctx, p.prefix+key)
	return p.strip(info), err
}

func (p *prefixStore) List(ctx context.Context, prefix, startAfter string, limit int) ([]Info, error) {
	if startAfter != "" {
		startAfter = p.prefix + startAfter
	}
	infos, err := p.store.List(ctx, p.prefix+prefix, startAfter, limit)
	for i := range infos {
		infos[i] = p.strip(infos[i])
	}
	return infos, err
}

func (p *prefixStore) Delete(ctx context.Context, key string) error {
	return p.store.Delete(ctx, p.prefix+key)
}

func (p *prefixStore) strip(info Info) Info {
	info.Key = strings.TrimPrefix(info.Key, p.prefix)
	return info
}
