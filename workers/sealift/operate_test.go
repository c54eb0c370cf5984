package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/stream"
)

// Each of these scripts has its own Kafka, Redis and S3, and a ledger with two files owed to
// ws_AAAAAAAAAAAAAAAA/one. The first was delivered. The second is parked, with the script's file
// parked.json as its note, if there is one. If there is a file named delivered, the second was
// delivered meanwhile; with one named unowed, a third file, of the source gone, is owed to nobody.
func TestScriptsWithLedger(t *testing.T) {
	scripts(t, "testdata/operate", func(env *testscript.Env) error {
		log := slog.New(slog.DiscardHandler)
		s, err := startStack(stackConfig{dir: env.WorkDir + "/stack"}, log)
		if err != nil {
			return err
		}
		env.Defer(func() {
			if err := s.close(); err != nil {
				t.Error(err)
			}
		})
		cfg := config.Default()
		s.configure(&cfg)
		for k, v := range map[string]string{
			"SEALIFT_KAFKA_BROKERS": cfg.Kafka.Brokers[0], "SEALIFT_REDIS_URL": cfg.Redis.URL.Reveal(),
			"SEALIFT_STAGING_ENDPOINT": cfg.Staging.Endpoint, "SEALIFT_STAGING_FORCE_PATH_STYLE": "true", "SEALIFT_STAGING_REGION": cfg.Staging.Region,
			"AWS_ACCESS_KEY_ID": s.key.AccessKeyID, "AWS_SECRET_ACCESS_KEY": s.key.SecretAccessKey.Reveal(),
		} {
			env.Setenv(k, v)
		}
		if err := s.s3.PutBucket(s3server.Bucket{Name: cfg.Staging.Bucket}); err != nil {
			return err
		}
		svc, err := openServices(cfg, s.credentials, false, log, nil)
		if err != nil {
			return err
		}
		ctx := context.Background()
		return errors.Join(svc.kafka.EnsureTopics(ctx, true, svc.topics()...), seedLedger(ctx, svc.staging, env.WorkDir), seedLetters(ctx, svc), svc.close())
	})
}

// seedLetters writes three dead letters of two sources, and an event of one of them, to Kafka.
func seedLetters(ctx context.Context, svc *services) error {
	received := time.Date(2026, 11, 22, 14, 30, 0, 0, time.UTC)
	found := stream.Record{Key: []byte("app"), Value: []byte("sEcReT"), Headers: []stream.Header{
		{Key: "sealift-source", Value: []byte("app")}, {Key: "sealift-received", Value: []byte("1795357800000")}, {Key: deadletter.HeaderReason, Value: []byte("not_a_json_object")},
		{Key: deadletter.HeaderTopic, Value: []byte("sealift.events")},
	}}
	event := deadletter.NewRefused("web", received, []byte(`{"userId":"sEcReT"}`), true, []byte("m-0"), "")
	return errors.Join(
		svc.topicProducer(svc.cfg.Kafka.EventsTopic, 0).Produce(ctx, event),
		svc.topicProducer(svc.cfg.Kafka.DeadLettersTopic, 0).Produce(ctx, found,
			deadletter.NewRefused("web", received, []byte(`{"type":"page","a":"sEcReT"}`), true, []byte("m-1"), "no_user"),
			deadletter.NewRefused("web", received, []byte(`{"type":"track","userId":"sEcReT"}`), true, []byte("m-2"), "no_event_name")))
}

func seedLedger(ctx context.Context, staging objstore.Store, dir string) error {
	const dest = "ws_AAAAAAAAAAAAAAAA/one"
	at := time.Now().Add(-time.Hour)
	head := ledgertest.Init(ledger.Log{Topic: "sealift.events", Incarnation: "1"}, at)
	head.Owner = "appender-1"
	var files []ledger.File
	for _, first := range []int64{0, 10} {
		files = append(files, ledgertest.File(head.Log(), ledger.File{
			First: first, Last: first + 9, Received: at.UnixMilli(), GzipBytes: 1234, SHA256: strings.Repeat("ab", 32), Owed: []string{dest},
		}, nil))
	}
	if _, none := os.Stat(dir + "/unowed"); none == nil {
		files = append(files, ledgertest.File(head.Log(), ledger.File{
			Source: "gone", First: 20, Last: 29, Received: at.UnixMilli(), GzipBytes: 1234, SHA256: strings.Repeat("ab", 32),
		}, nil))
	}
	sealed := ledgertest.Next(head, files...)
	chain := ledger.NewChain(staging, head.Log())
	put := func(key string, body []byte) error {
		_, err := staging.Put(ctx, key, bytes.NewReader(body), objstore.PutOptions{})
		return err
	}
	receipt := delivery.Receipt{File: delivery.Ref(sealed, 0), Destination: dest, Outcome: delivery.Delivered}
	parked := delivery.Parked{
		Job:    delivery.Job{File: delivery.Ref(sealed, 1), Destination: dest, Attempt: 3},
		Reason: "no_bucket", Cause: "the bucket does not exist", Fix: "create it", Since: 1795357800000, At: 1795361400000,
	}
	note, err := os.ReadFile(dir + "/parked.json")
	if errors.Is(err, fs.ErrNotExist) {
		note, err = parked.Encode(), nil
	}
	if _, none := os.Stat(dir + "/delivered"); none == nil {
		late := delivery.Receipt{File: parked.Job.File, Destination: dest, Outcome: delivery.Delivered}
		err = errors.Join(err, put(delivery.ReceiptKey(late.File, dest), late.Encode()))
	}
	return errors.Join(err, chain.Append(ctx, head), chain.Append(ctx, sealed),
		put(delivery.ReceiptKey(receipt.File, dest), receipt.Encode()),
		put(delivery.ParkedKey(parked.Job.File, dest), note))
}
