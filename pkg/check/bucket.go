package check

import (
	"io"
	"iter"
	"runtime"
	"strings"
	"sync"
)

// Object is one object in the bucket, as stored.
type Object struct {
	Key             string
	ContentType     string
	ContentEncoding string
	// Metadata is the user metadata. Its records and sha256 must be true; nil: not compared.
	Metadata map[string]string
	// Open returns the stored bytes, not decompressed. It is called at most once, from any
	// goroutine, and only for objects below segment-logs/.
	Open func() (io.ReadCloser, error)
}

// Rules are what the objects have to satisfy.
type Rules struct {
	// Prefix is the destination's key prefix, without slashes at either end.
	Prefix string
	// MaxBytes bounds an object; default 100,000,000.
	MaxBytes int64
	// MaxExamples bounds Report.Examples; default 20.
	MaxExamples int
	// Workers is how many objects are read concurrently; default GOMAXPROCS.
	Workers int
}

// Check reads all objects and compares them with what is expected. Each object must be yielded
// once. It returns the first error of the iterator, or of opening or reading an object: then
// nothing can be said about the bucket. It may be called again, and then starts over.
func (e *Expected) Check(objects iter.Seq2[Object, error], rules Rules) (*Report, error) {
	if rules.MaxBytes <= 0 {
		rules.MaxBytes = 100_000_000
	}
	if rules.MaxExamples <= 0 {
		rules.MaxExamples = 20
	}
	if rules.Workers <= 0 {
		rules.Workers = runtime.GOMAXPROCS(0)
	}
	e.mu.Lock()
	e.reset()
	r := &Report{Acknowledged: e.acked, Records: e.dumped, limit: rules.MaxExamples}
	e.mu.Unlock()

	root := "segment-logs/"
	if rules.Prefix != "" {
		root = rules.Prefix + "/" + root
	}
	var (
		work  = make(chan Object)
		wg    sync.WaitGroup
		names = map[string]string{} // file name -> key
	)
	for range rules.Workers {
		wg.Go(func() {
			for o := range work {
				if !r.failed() {
					e.checkObject(r, o, o.Key[len(root):], rules)
				}
			}
		})
	}
	for o, err := range objects {
		if err != nil {
			r.setErr(err)
		}
		if r.failed() {
			break
		}
		if !strings.HasPrefix(o.Key, root) {
			r.increment(&r.Ignored)
			continue
		}
		base := o.Key[strings.LastIndexByte(o.Key, '/')+1:]
		if first, ok := names[base]; ok {
			r.addProblem(Malformed, o.Key, "", "the same file name as "+first)
		}
		names[base] = o.Key
		work <- o
	}
	close(work)
	wg.Wait()
	if r.err != nil {
		return nil, r.err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r.Lost = e.countLost()
	return r, nil
}
