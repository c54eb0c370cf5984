package mirror

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/sealift/sealift/pkg/objstore"
)

// Cat writes the files' lines to w, one file after the other, decompressed,
// or their gzip bytes if raw. It ends with the first error: what was written
// before may end within a file. read, if not nil, is called with the number
// of compressed bytes received.
func Cat(ctx context.Context, store objstore.Store, files iter.Seq2[File, error], w io.Writer, raw bool, read func(int64)) error {
	for f, err := range files {
		if err != nil {
			return err
		}
		if err := catOne(ctx, store, f, w, raw, read); err != nil {
			return fmt.Errorf("read %q: %w", f.Key, err)
		}
	}
	return nil
}

func catOne(ctx context.Context, store objstore.Store, f File, w io.Writer, raw bool, read func(int64)) error {
	body, info, err := store.Get(ctx, f.Key)
	if err != nil {
		return err
	}
	defer body.Close()
	in := newVerifier(body, f, info, read)
	if raw {
		_, err = io.Copy(w, in)
	} else {
		err = decompress(w, in)
	}
	if err != nil {
		return err
	}
	return in.verify()
}
