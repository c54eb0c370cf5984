package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/mirror"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
)

// judge reads every bucket over HTTP, as its owner would, and compares it with what the collector
// acknowledged. It prints each bucket and, as the last line, the verdict.
func (d *demonstration) judge(ctx context.Context, s *sendTally) error {
	var files, lost, doubled, lines, owed int64
	fine := true
	for _, to := range d.catalog.Snapshot().Destinations() {
		expected := s.expected[to.ID]
		if expected == nil {
			expected = &check.Expected{} // the bucket must be empty
		}
		t := tree{}
		store := objstore.NewS3(objstore.S3Config{Bucket: to.BucketName, Region: embeddedRegion, Endpoint: d.stack.s3URL, PathStyle: true, Credentials: d.stack.credentials})
		r, err := expected.Check(listObjects(ctx, store, &t), check.Rules{Prefix: to.Prefix})
		if err != nil {
			return fmt.Errorf("read bucket %q: %w", to.BucketName, err)
		}
		t.print(d.out, to.BucketName)
		if !r.OK() || r.Lines != s.owed[to.ID] || r.Ignored > 0 {
			fine = false
			fmt.Fprintf(d.out, "bucket %s: %s\n", to.BucketName, r)
		}
		files, lines, owed = files+r.Objects, lines+r.Lines, owed+s.owed[to.ID]
		lost, doubled = lost+r.Lost, doubled+r.Duplicated
	}
	// A repeated event that is delivered twice passes the comparison of ids, which allows as many
	// copies as were acknowledged, but not the count.
	if lost == 0 && lines < owed {
		lost = owed - lines
	}
	if doubled == 0 && lines > owed {
		doubled = lines - owed
	}
	fmt.Fprintf(d.out, "\ndelivered %d events in %d files, %d lost, %d duplicated\n", max(0, s.acked-s.repeated-lost), files, lost, doubled)
	if !fine || lost > 0 || doubled > 0 {
		return errNotDelivered
	}
	return nil
}

// listObjects lists a bucket for the check, and adds each object to the tree.
func listObjects(ctx context.Context, store objstore.Store, t *tree) iter.Seq2[check.Object, error] {
	return func(yield func(check.Object, error) bool) {
		for listed, err := range objstore.All(ctx, store, "") {
			var info objstore.Info
			if err == nil {
				info, err = store.Head(ctx, listed.Key)
			}
			if err != nil {
				yield(check.Object{}, err)
				return
			}
			t.add(info)
			o := check.Object{
				Key: info.Key, ContentType: info.ContentType, ContentEncoding: info.ContentEncoding, Metadata: info.Metadata,
				Open: func() (io.ReadCloser, error) { r, _, err := store.Get(ctx, info.Key); return r, err },
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// treeFiles bounds how many files of a folder are printed.
const treeFiles = 12

// tree is a folder of a bucket, or the bucket itself.
type tree struct {
	name    string
	folders []*tree
	files   []objstore.Info
}

func (t *tree) add(info objstore.Info) {
	parts := strings.Split(info.Key, "/")
	at := t
	for _, name := range parts[:len(parts)-1] {
		i := slices.IndexFunc(at.folders, func(f *tree) bool { return f.name == name })
		if i < 0 {
			i = len(at.folders)
			at.folders = append(at.folders, &tree{name: name})
		}
		at = at.folders[i]
	}
	at.files = append(at.files, info)
}

func (t *tree) print(out io.Writer, bucket string) {
	fmt.Fprintf(out, "s3://%s\n", bucket)
	t.printBelow(out, "")
}

func (t *tree) printBelow(out io.Writer, indent string) {
	more := max(0, len(t.files)-treeFiles)
	left := len(t.folders) + len(t.files) - more
	if more > 0 {
		left++
	}
	branch := func() (string, string) {
		left--
		if left == 0 {
			return indent + "└── ", indent + "    "
		}
		return indent + "├── ", indent + "│   "
	}
	for _, f := range t.folders {
		line, below := branch()
		name := f.name
		for len(f.folders) == 1 && len(f.files) == 0 { // a chain of folders on one line
			f = f.folders[0]
			name += "/" + f.name
		}
		if day, err := mirror.ParseDay(f.name); err == nil {
			name += "  (" + mirror.Date(day) + ")"
		}
		fmt.Fprintf(out, "%s%s\n", line, name)
		f.printBelow(out, below)
	}
	for _, info := range t.files[:len(t.files)-more] {
		line, _ := branch()
		name := info.Key[strings.LastIndexByte(info.Key, '/')+1:]
		fmt.Fprintf(out, "%s%s  %s, %s events\n", line, name, progress.Bytes(info.Size), info.Metadata["records"])
	}
	if more > 0 {
		line, _ := branch()
		fmt.Fprintf(out, "%s… and %s more\n", line, progress.Count(int64(more)))
	}
}
