//go:build stack

package e2e

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// serverFaults are the lanes of what the roles depend on.
func serverFaults() []lane {
	staging := func(w weather) doer { return stormy("staging", w) }
	customers := func(w weather) doer { return stormy("customers", w) }
	return []lane{
		{"kafka", []fault{
			{"broker killed", seconds(0, 6), brokerKilled},
			{"broker stopped", seconds(4, 14), brokerStopped}, // the controller fences it after 9 s
			{"partition added", seconds(0, 0), partitionAdded},
		}},
		{"redis", []fault{
			{"redis killed", seconds(0, 5), redisKilled},
			{"redis stopped", seconds(2, 6), redisStopped},
			{"redis flushed", seconds(0, 0), redisFlushed},
			{"redis failed over", seconds(1, 5), failedOver(false)},
			{"redis failed over to an old copy", seconds(2, 5), failedOver(true)},
		}},
		{"staging", []fault{
			{"staging refuses", seconds(3, 8), staging(weather{refused: .2, failed: .1, cutBefore: .1, conflict: .1})},
			{"staging loses replies", seconds(3, 8), staging(weather{cutAfter: .3, failedAfter: .1})},
			{"staging is haunted", seconds(3, 8), staging(weather{ghost: .2, ghost503: .1})},
			{"staging is slow", seconds(3, 8), staging(weather{late: .3, slowBody: .1, tornBody: .1})},
			{"staging is away", seconds(2, 6), staging(weather{cutBefore: 1})},
			{"store killed", seconds(0, 3), storeKilled}, // affects customers as well
			{"staging does it all", seconds(3, 8), staging(weather{refused: .05, conflict: .05, cutBefore: .05, cutAfter: .1, ghost: .1, late: .1, tornBody: .05})},
		}},
		{"customers", []fault{
			{"buckets refuse", seconds(3, 8), customers(weather{refused: .2, failed: .1, cutBefore: .1, conflict: .1})},
			{"buckets lose replies", seconds(3, 8), customers(weather{cutAfter: .4, failedAfter: .2})},
			{"buckets are haunted", seconds(3, 8), customers(weather{ghost: .3, ghost503: .2})},
			{"buckets deny", seconds(3, 8), customers(weather{denied: .5})},
			{"buckets are slow", seconds(3, 8), customers(weather{late: .4, slowBody: .1})},
			{"a bucket is away", seconds(4, 9), bucketAway},
			{"sts fails", seconds(3, 8), stormy("sts", weather{refused: .3, cutBefore: .2, late: .2, tornBody: .2})},
			{"destination disabled", seconds(4, 9), destinationDisabled},
			{"destination added", seconds(0, 0), destinationAdded},
		}},
	}
}

// broker returns a broker's name in scripts/stack.sh.
func (n *nemesis) broker(a act) string {
	return fmt.Sprintf("kafka-%d", 1+a.pick%uint64(len(strings.Split(n.direct.kafka, ","))))
}

func brokerKilled(ctx context.Context, n *nemesis, a act) error {
	name := n.broker(a)
	if err := stack(ctx, "kill", name); err != nil {
		return err
	}
	n.say("%s killed for %v", name, a.hold)
	n.sleep(ctx, a.hold)
	if err := stack(ctx, "start", name); err != nil {
		return err
	}
	return n.inSync(ctx)
}

func brokerStopped(ctx context.Context, n *nemesis, a act) error {
	name := n.broker(a)
	if err := stack(ctx, "pause", name); err != nil {
		return err
	}
	n.say("%s stopped for %v", name, a.hold)
	n.sleep(ctx, a.hold)
	if err := stack(ctx, "resume", name); err != nil {
		return err
	}
	return n.inSync(ctx)
}

// inSync waits until every replica is in sync again: losing two brokers at once exceeds Kafka's
// limits, not ours.
func (n *nemesis) inSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		behind, err := n.behind(ctx)
		if err == nil && behind == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for replicas in sync: %d partitions lack some: %w: %w", behind, ctx.Err(), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// behind counts the partitions of this system's topics, and of Kafka's own, that have a replica
// which is not in sync.
func (n *nemesis) behind(ctx context.Context) (behind int, err error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = nil // all
	resp, err := req.RequestWith(ctx, n.kafka)
	if err != nil {
		return 0, err
	}
	for _, topic := range resp.Topics {
		if !topic.IsInternal && !strings.HasPrefix(*topic.Topic, "e2e-"+n.s.tag) {
			continue
		}
		for _, p := range topic.Partitions {
			if p.ErrorCode != 0 || len(p.ISR) < len(p.Replicas) {
				behind++
			}
		}
	}
	return behind, nil
}

// mostPartitions bounds the number of partitions of the events topic.
const mostPartitions = systemPartitions + 4

func partitionAdded(ctx context.Context, n *nemesis, _ act) error {
	n.mu.Lock()
	count := min(n.partitions+1, mostPartitions)
	n.mu.Unlock()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = n.s.eventsTopic(), int32(count)
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 10_000
	req.Topics = append(req.Topics, rt)
	for { // an earlier try may have succeeded without saying so
		resp, err := req.RequestWith(ctx, n.kafka)
		if err == nil && len(resp.Topics) == 1 && (resp.Topics[0].ErrorCode == 0 || resp.Topics[0].ErrorCode == 37) { // INVALID_PARTITIONS: it already has them
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("add a partition: %w: %w", ctx.Err(), err)
		}
		n.sleep(ctx, time.Second)
	}
	n.mu.Lock()
	n.partitions = count
	n.mu.Unlock()
	n.say("the events topic has %d partitions", count)
	return nil
}

// redisNames are the names in scripts/stack.sh of the servers in n.redisURLs.
var redisNames = []string{"redis", "redis-2"}

func redisKilled(ctx context.Context, n *nemesis, a act) error {
	name := redisNames[n.primary]
	if err := stack(ctx, "kill", name); err != nil {
		return err
	}
	n.say("%s killed for %v", name, a.hold)
	n.sleep(ctx, a.hold)
	return stack(ctx, "start", name)
}

func redisStopped(ctx context.Context, n *nemesis, a act) error {
	name := redisNames[n.primary]
	if err := stack(ctx, "pause", name); err != nil {
		return err
	}
	n.say("%s stopped for %v", name, a.hold)
	n.sleep(ctx, a.hold)
	return stack(ctx, "resume", name)
}

func redisFlushed(ctx context.Context, n *nemesis, _ act) error {
	n.say("redis flushed")
	return redisDo(ctx, n.redisURLs[n.primary], "FLUSHALL")
}

// failedOver kills the primary and promotes its replica, which may have been cut off from it for a
// while: then it grants leases that are held, and has lost what was marked since.
func failedOver(old bool) doer {
	return func(ctx context.Context, n *nemesis, a act) error {
		from, to := n.primary, 1-n.primary
		if old {
			if err := redisDo(ctx, n.redisURLs[to], "REPLICAOF NO ONE"); err != nil {
				return err
			}
			n.sleep(ctx, a.hold)
		}
		if err := stack(ctx, "kill", redisNames[from]); err != nil {
			return err
		}
		n.redis.to()
		n.say("%s killed, failing over", redisNames[from])
		if !old {
			n.sleep(ctx, a.hold/2)
			if err := redisDo(ctx, n.redisURLs[to], "REPLICAOF NO ONE"); err != nil {
				return err
			}
		}
		n.primary = to
		n.redis.to(hostOf(n.redisURLs[to]))
		if err := stack(ctx, "start", redisNames[from]); err != nil {
			return err
		}
		return n.replicate(ctx)
	}
}

// replicate makes the other Redis a replica of the primary.
func (n *nemesis) replicate(ctx context.Context) error {
	host, port, _ := strings.Cut(hostOf(n.redisURLs[n.primary]), ":")
	return redisDo(ctx, n.redisURLs[1-n.primary], "REPLICAOF "+host+" "+port)
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Host
}

func storeKilled(ctx context.Context, n *nemesis, a act) error {
	if err := stack(ctx, "kill", "minio"); err != nil {
		return err
	}
	n.say("minio killed for %v", a.hold)
	n.sleep(ctx, a.hold)
	return stack(ctx, "start", "minio")
}

// stormy sets bad weather for a place of the S3 proxy.
func stormy(place string, w weather) doer {
	return func(ctx context.Context, n *nemesis, a act) error {
		n.say("%s: %v for %v", place, w, a.hold)
		n.s3.turn(place, w)
		n.sleep(ctx, a.hold)
		n.s3.turn(place, nil)
		return nil
	}
}

func bucketAway(ctx context.Context, n *nemesis, a act) error {
	all := n.s.destinations()
	return stormy(all[a.pick%uint64(len(all))].bucket, weather{refused: .5, cutBefore: .5})(ctx, n, a)
}

// destinationDisabled disables a destination: what is sealed meanwhile is not owed to it.
func destinationDisabled(ctx context.Context, n *nemesis, a act) error {
	d := n.s.workspaces[0].destinations[1]
	n.say("destination %s disabled for %v", d.name, a.hold)
	d.disabled = true
	if err := n.apply(ctx); err != nil {
		return err
	}
	n.sleep(ctx, a.hold)
	d.disabled = false
	return n.apply(ctx)
}

// mostDestinations bounds the number of a customer's destinations.
const mostDestinations = 5

// destinationAdded gives a customer another bucket for half of their sources.
func destinationAdded(ctx context.Context, n *nemesis, a act) error {
	w := &n.s.workspaces[a.pick%uint64(len(n.s.workspaces))]
	if len(w.destinations) == mostDestinations {
		return n.apply(ctx)
	}
	name := fmt.Sprintf("added-%d", len(w.destinations))
	d := &destination{name: name, bucket: fmt.Sprintf("e2e-%s-%s-%s", n.s.tag, w.id[3:7], name), sources: w.sources[:len(w.sources)/2]}
	if err := n.makeBucket(d.bucket); err != nil {
		return err
	}
	n.mu.Lock()
	w.destinations = append(w.destinations, d)
	n.mu.Unlock()
	n.say("destination %s added", d.bucket)
	return n.apply(ctx)
}

// apply retries, because Kafka may be in trouble.
func (n *nemesis) apply(ctx context.Context) error {
	began := time.Now()
	for try := 1; ; try++ {
		within, cancel := context.WithTimeout(ctx, time.Minute)
		err := n.s.applyCatalog(within)
		cancel()
		if err == nil {
			n.claimed(began, time.Now())
		}
		if err == nil || try == 5 || ctx.Err() != nil {
			return err
		}
		n.say("catalog apply: %v", err)
		n.sleep(ctx, time.Second)
	}
}

// kafkaClient bypasses every proxy, and is not the product's client.
func kafkaClient(brokers string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
}
