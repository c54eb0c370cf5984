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
	staging := func(w weather) faultFunc { return badWeather("staging", w) }
	customers := func(w weather) faultFunc { return badWeather("customers", w) }
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
			{"redis failed over", seconds(1, 5), failoverFault(false)},
			{"redis failed over to an old copy", seconds(2, 5), failoverFault(true)},
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
			{"sts fails", seconds(3, 8), badWeather("sts", weather{refused: .3, cutBefore: .2, late: .2, tornBody: .2})},
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
	n.logf("%s killed for %v", name, a.hold)
	n.sleep(ctx, a.hold)
	if err := stack(ctx, "start", name); err != nil {
		return err
	}
	return n.waitInSync(ctx)
}

func brokerStopped(ctx context.Context, n *nemesis, a act) error {
	name := n.broker(a)
	if err := stack(ctx, "pause", name); err != nil {
		return err
	}
	n.logf("%s stopped for %v", name, a.hold)
	n.sleep(ctx, a.hold)
	if err := stack(ctx, "resume", name); err != nil {
		return err
	}
	return n.waitInSync(ctx)
}

// waitInSync waits until every replica is in sync again: losing two brokers at once exceeds Kafka's
// limits, not ours.
func (n *nemesis) waitInSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		behind, err := n.outOfSync(ctx)
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

// outOfSync counts the partitions of this system's topics, and of Kafka's own, that have a replica
// which is not in sync.
func (n *nemesis) outOfSync(ctx context.Context) (behind int, err error) {
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

// maxPartitions bounds the number of partitions of the events topic.
const maxPartitions = systemPartitions + 4

func partitionAdded(ctx context.Context, n *nemesis, _ act) error {
	n.mu.Lock()
	count := min(n.partitions+1, maxPartitions)
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
	n.logf("the events topic has %d partitions", count)
	return nil
}

// redisNames are the names in scripts/stack.sh of the servers in n.redisURLs.
var redisNames = []string{"redis", "redis-2"}

func redisKilled(ctx context.Context, n *nemesis, a act) error {
	name := redisNames[n.primary]
	if err := stack(ctx, "kill", name); err != nil {
		return err
	}
	n.logf("%s killed for %v", name, a.hold)
	n.sleep(ctx, a.hold)
	return stack(ctx, "start", name)
}

func redisStopped(ctx context.Context, n *nemesis, a act) error {
	name := redisNames[n.primary]
	if err := stack(ctx, "pause", name); err != nil {
		return err
	}
	n.logf("%s stopped for %v", name, a.hold)
	n.sleep(ctx, a.hold)
	return stack(ctx, "resume", name)
}

func redisFlushed(ctx context.Context, n *nemesis, _ act) error {
	n.logf("redis flushed")
	return redisDo(ctx, n.redisURLs[n.primary], "FLUSHALL")
}

// failoverFault kills the primary and promotes its replica, which may have been cut off from it for
// a while: then it grants leases that are held, and has lost what was marked since.
func failoverFault(old bool) faultFunc {
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
		n.redis.switchTo()
		n.logf("%s killed, failing over", redisNames[from])
		if !old {
			n.sleep(ctx, a.hold/2)
			if err := redisDo(ctx, n.redisURLs[to], "REPLICAOF NO ONE"); err != nil {
				return err
			}
		}
		n.primary = to
		n.redis.switchTo(hostOf(n.redisURLs[to]))
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
	n.logf("minio killed for %v", a.hold)
	n.sleep(ctx, a.hold)
	return stack(ctx, "start", "minio")
}

// badWeather sets bad weather for a place of the S3 proxy.
func badWeather(place string, w weather) faultFunc {
	return func(ctx context.Context, n *nemesis, a act) error {
		n.logf("%s: %v for %v", place, w, a.hold)
		n.s3.setWeather(place, w)
		n.sleep(ctx, a.hold)
		n.s3.setWeather(place, nil)
		return nil
	}
}

func bucketAway(ctx context.Context, n *nemesis, a act) error {
	all := n.s.destinations()
	return badWeather(all[a.pick%uint64(len(all))].bucket, weather{refused: .5, cutBefore: .5})(ctx, n, a)
}

// destinationDisabled disables a destination: what is sealed meanwhile is not owed to it.
func destinationDisabled(ctx context.Context, n *nemesis, a act) error {
	d := n.s.workspaces[0].destinations[1]
	n.logf("destination %s disabled for %v", d.name, a.hold)
	d.disabled = true
	if err := n.applyCatalog(ctx); err != nil {
		return err
	}
	n.sleep(ctx, a.hold)
	d.disabled = false
	return n.applyCatalog(ctx)
}

// maxDestinations bounds the number of a customer's destinations.
const maxDestinations = 5

// destinationAdded gives a customer another bucket for half of their sources.
func destinationAdded(ctx context.Context, n *nemesis, a act) error {
	w := &n.s.workspaces[a.pick%uint64(len(n.s.workspaces))]
	if len(w.destinations) == maxDestinations {
		return n.applyCatalog(ctx)
	}
	name := fmt.Sprintf("added-%d", len(w.destinations))
	d := &destination{name: name, bucket: fmt.Sprintf("e2e-%s-%s-%s", n.s.tag, w.id[3:7], name), sources: w.sources[:len(w.sources)/2]}
	if err := n.makeBucket(d.bucket); err != nil {
		return err
	}
	n.mu.Lock()
	w.destinations = append(w.destinations, d)
	n.mu.Unlock()
	n.logf("destination %s added", d.bucket)
	return n.applyCatalog(ctx)
}

// applyCatalog retries, because Kafka may be in trouble.
func (n *nemesis) applyCatalog(ctx context.Context) error {
	began := time.Now()
	for try := 1; ; try++ {
		within, cancel := context.WithTimeout(ctx, time.Minute)
		err := n.s.applyCatalog(within)
		cancel()
		if err == nil {
			n.recordClaims(began, time.Now())
		}
		if err == nil || try == 5 || ctx.Err() != nil {
			return err
		}
		n.logf("catalog apply: %v", err)
		n.sleep(ctx, time.Second)
	}
}

// kafkaClient bypasses every proxy, and is not the product's client.
func kafkaClient(brokers string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
}
