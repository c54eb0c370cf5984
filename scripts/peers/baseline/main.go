// Command baseline is a simple program, as one might write it in an afternoon, that copies a topic
// to S3: a consumer group, a buffer for each source and day, gzip, PUTs. scripts/bench-peers.sh
// compares other programs with it: it takes about the least CPU time possible for the work in Go.
//
// It guarantees little: it delivers every event at least once, provided that the events of one roll
// fit in memory. If it is killed between the PUTs and the commit, events are delivered twice. It
// does not support a second process, and verifies nothing.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

const (
	memberBytes = 256 << 10 // lines buffered before they are compressed as one gzip member
	objectBytes = 100 << 20 // compressed size of a file at which all files are put
	uploads     = 4         // concurrent
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		os.Exit(1)
	}
}

// file is a future object: compressed members, and lines that are not compressed yet.
type file struct{ lines, gzip bytes.Buffer }

// loader holds the events that are not in S3 yet.
type loader struct {
	kafka *kgo.Client
	s3    *minio.Client
	zip   *gzip.Writer
	files map[string]*file // key: source and day
	puts  int
}

// run returns when all events that the topic held at the start are in S3.
func run(ctx context.Context) error {
	seconds, err := strconv.Atoi(os.Getenv("ROLL_SECS"))
	if err != nil {
		return fmt.Errorf("ROLL_SECS: %w", err)
	}
	level, err := strconv.Atoi(os.Getenv("GZIP_LEVEL"))
	if err != nil {
		return fmt.Errorf("GZIP_LEVEL: %w", err)
	}
	l := &loader{files: map[string]*file{}}
	if l.zip, err = gzip.NewWriterLevel(nil, level); err != nil {
		return err
	}
	l.s3, err = minio.New(strings.TrimPrefix(os.Getenv("S3_ENDPOINT"), "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""), Region: os.Getenv("AWS_REGION"),
	})
	if err != nil {
		return err
	}
	topic := os.Getenv("TOPIC")
	l.kafka, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(os.Getenv("BOOTSTRAP"), ",")...), kgo.ConsumerGroup(os.Getenv("GROUP")), kgo.ConsumeTopics(topic),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.FetchMaxBytes(16<<20))
	if err != nil {
		return err
	}
	defer l.kafka.Close()
	ends, err := kadm.NewClient(l.kafka).ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	remaining := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			remaining[o.Partition] = o.Offset
		}
	})
	for lastRoll := time.Now(); len(remaining) > 0; {
		full := false
		wait, cancel := context.WithTimeout(ctx, time.Second)
		records := l.kafka.PollRecords(wait, 20_000)
		cancel()
		records.EachRecord(func(r *kgo.Record) {
			full = l.add(r) || full
			if end, ok := remaining[r.Partition]; ok && r.Offset+1 >= end {
				delete(remaining, r.Partition)
			}
		})
		if full || time.Since(lastRoll) > time.Duration(seconds)*time.Second {
			if err := l.flush(ctx); err != nil {
				return err
			}
			lastRoll = time.Now()
		}
	}
	return l.flush(ctx)
}

// add appends a record's line to its file, and reports whether the file is full.
func (l *loader) add(r *kgo.Record) (full bool) {
	key := "source=" + string(r.Key) + "/day=" + r.Timestamp.UTC().Format(time.DateOnly)
	f := l.files[key]
	if f == nil {
		f = &file{}
		l.files[key] = f
	}
	f.lines.Write(r.Value)
	f.lines.WriteByte('\n')
	if f.lines.Len() < memberBytes {
		return false
	}
	l.compress(f)
	return f.gzip.Len() >= objectBytes
}

// compress compresses a file's lines. It ignores errors, since writing to a buffer cannot fail.
func (l *loader) compress(f *file) {
	l.zip.Reset(&f.gzip)
	_, _ = l.zip.Write(f.lines.Bytes())
	_ = l.zip.Close()
	f.lines.Reset()
}

// flush puts all files, and commits the offsets of the records that were read.
func (l *loader) flush(ctx context.Context) error {
	if len(l.files) == 0 {
		return nil
	}
	var puts errgroup.Group
	puts.SetLimit(uploads)
	for key, f := range l.files {
		if f.lines.Len() > 0 {
			l.compress(f)
		}
		l.puts++
		name := fmt.Sprintf("%s%s/%d-%06d.json.gz", os.Getenv("PREFIX"), key, time.Now().UnixNano(), l.puts)
		puts.Go(func() error {
			_, err := l.s3.PutObject(ctx, os.Getenv("BUCKET"), name, &f.gzip, int64(f.gzip.Len()), minio.PutObjectOptions{DisableMultipart: true})
			return err
		})
	}
	if err := puts.Wait(); err != nil {
		return err
	}
	l.files = map[string]*file{}
	return l.kafka.CommitUncommittedOffsets(ctx)
}
