package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/segmentio/kafka-go"

	"github.com/sealift/sealift/pkg/stream"
)

// bareServerEnv makes a process of the test binary run a bare handler, so that its CPU time is
// separate from that of the load: "brokers topic mode".
const bareServerEnv = "SEALIFT_BENCH_BARE"

// bareServer is what the collector is compared with: a handler that reads the body and answers 200
// when all in-sync replicas have it. Mode "bare" produces the body unchanged, one record per
// request, with the collector's own producer. "split" decompresses it and produces one record per
// event, as the collector has to, but takes lines for events and parses nothing. "writer" is "bare"
// with kafka-go's Writer and the same settings.
func bareServer(settings string) {
	var brokers, topic, mode string
	if _, err := fmt.Sscan(settings, &brokers, &topic, &mode); err != nil {
		panic(err)
	}
	client, err := stream.Open(stream.Config{Brokers: strings.Split(brokers, ",")}, nil)
	if err != nil {
		panic(err)
	}
	produce := client.NewProducer(stream.ProducerConfig{Topic: topic, Compression: "lz4"}).Produce
	if mode == "writer" {
		produce = bareWriter(brokers, topic)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s\n", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	panic(http.Serve(l, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := bareProduce(produce, r, mode == "split"); err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = rw.Write([]byte(`{"success":true}` + "\n"))
	})))
}

func bareWriter(brokers, topic string) func(context.Context, ...stream.Record) error {
	w := &kafka.Writer{
		Addr:            kafka.TCP(strings.Split(brokers, ",")...),
		Topic:           topic,
		Balancer:        kafka.Murmur2Balancer{},
		MaxAttempts:     5,
		WriteBackoffMin: 50 * time.Millisecond,
		WriteBackoffMax: time.Second,
		BatchSize:       10_000,
		BatchBytes:      1_000_000,
		BatchTimeout:    5 * time.Millisecond,
		RequiredAcks:    kafka.RequireAll,
		Compression:     kafka.Lz4,
	}
	return func(ctx context.Context, records ...stream.Record) error {
		return w.WriteMessages(ctx, kafka.Message{Key: records[0].Key, Value: records[0].Value})
	}
}

func bareProduce(produce func(context.Context, ...stream.Record) error, r *http.Request, split bool) error {
	key, _, _ := r.BasicAuth()
	var from io.Reader = r.Body
	if split && r.Header.Get("Content-Encoding") == "gzip" {
		inflate, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		from = inflate
	}
	body, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	lines := [][]byte{body}
	if split {
		lines = bytes.Split(body, []byte("\n"))
	}
	records := make([]stream.Record, 0, len(lines))
	for _, line := range lines {
		records = append(records, stream.Record{Key: []byte(key), Value: line})
	}
	return produce(r.Context(), records...)
}
