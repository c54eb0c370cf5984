package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/sealift/sealift/pkg/sleep"
)

// ErrNoTopic says that a topic does not exist.
var ErrNoTopic = errors.New("no such topic")

// Topic is a topic that Sealift needs.
type Topic struct {
	Name        string
	Partitions  int
	Replication int // -1 or 0: the broker's default
	// Compacted topics keep the last record of each key forever. With another cleanup policy their
	// records would be deleted after the retention. Other topics must not be compacted: readers skip
	// what is gone, so records would be lost without a trace.
	Compacted bool
	// MaxRecordBytes is the largest record that the topic accepts; 0: the broker's default.
	MaxRecordBytes int
}

// ErrCleanupPolicy says that a topic that must be compacted is not, or the other way round.
var ErrCleanupPolicy = errors.New("the topic's cleanup.policy removes records")

// EnsureTopics creates missing topics explicitly, since auto-creation would use the broker's number
// of partitions. If create is false, it returns an error that wraps ErrNoTopic and says how to
// create the first missing topic. It does not change existing topics. If, according to the brokers,
// one is compacted and must not be, or the other way round, it returns an error that wraps
// ErrCleanupPolicy.
func (c *Client) EnsureTopics(ctx context.Context, create bool, topics ...Topic) error {
	for _, t := range topics {
		_, err := c.Partitions(ctx, t.Name)
		if errors.Is(err, ErrNoTopic) {
			if !create {
				return fmt.Errorf("topic %q: %w; create it with: %s (or set kafka.create_topics: true)", t.Name, ErrNoTopic, c.createCommand(t))
			}
			err = c.createTopic(ctx, t)
		}
		if err == nil {
			err = c.checkCleanup(ctx, t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkCleanup returns an error if the topic is known to have the wrong cleanup policy.
func (c *Client) checkCleanup(ctx context.Context, t Topic) error {
	right, wrong := "delete", "compact"
	if t.Compacted {
		right, wrong = wrong, right
	}
	policy, err := c.topicConfig(ctx, t.Name, cleanupPolicy)
	if err != nil || !strings.Contains(policy, wrong) { // the user may not be allowed to see the configuration
		return nil //nolint:nilerr // it may be right
	}
	return fmt.Errorf("topic %q: %w (it is %q), and what it holds has to stay; change it with: %s", t.Name, ErrCleanupPolicy, policy, c.configCommand(t.Name, cleanupPolicy, right))
}

// RaiseMaxBytesCommand returns the command that makes a topic accept records of that many bytes.
func (c *Client) RaiseMaxBytesCommand(topic string, bytes int) string {
	return c.configCommand(topic, maxMessageBytes, strconv.Itoa(bytes))
}

// configCommand returns the command that changes a topic's setting, in a form that old versions of
// Kafka accept as well.
func (c *Client) configCommand(topic, setting, value string) string {
	return fmt.Sprintf("%s --alter --entity-type topics --entity-name %s --add-config %s=%s", c.commandPrefix("kafka-configs.sh"), topic, setting, value)
}

// commandPrefix returns the beginning of a command of Kafka, with a file of connection settings if
// an address is not enough.
func (c *Client) commandPrefix(name string) string {
	line := name + " --bootstrap-server " + strings.Join(c.brokers, ",")
	if c.hinting.tls || c.hinting.sasl {
		line += " --command-config FILE"
	}
	return line
}

const (
	cleanupPolicy   = "cleanup.policy"
	maxMessageBytes = "max.message.bytes"
	retentionMillis = "retention.ms"
	timestampType   = "message.timestamp.type"
)

// settings returns those settings of a topic that differ from the brokers' defaults.
func (t Topic) settings() (all []kafka.ConfigEntry) {
	if t.Compacted {
		all = append(all, kafka.ConfigEntry{ConfigName: cleanupPolicy, ConfigValue: "compact"})
	}
	if t.MaxRecordBytes > 0 {
		all = append(all, kafka.ConfigEntry{ConfigName: maxMessageBytes, ConfigValue: strconv.Itoa(t.MaxRecordBytes)})
	}
	return all
}

// createCommand returns the command that creates the topic like createTopic.
func (c *Client) createCommand(t Topic) string {
	line := fmt.Sprintf("%s --create --topic %s --partitions %d", c.commandPrefix("kafka-topics.sh"), t.Name, t.Partitions)
	if t.Replication > 0 {
		line += fmt.Sprintf(" --replication-factor %d", t.Replication)
	}
	for _, s := range t.settings() {
		line += fmt.Sprintf(" --config %s=%s", s.ConfigName, s.ConfigValue)
	}
	return line
}

func (c *Client) createTopic(ctx context.Context, t Topic) error {
	cfg := kafka.TopicConfig{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.Replication, ConfigEntries: t.settings()}
	if t.Replication == 0 {
		cfg.ReplicationFactor = -1
	}
	res, err := callAPI(ctx, c.api(10*time.Second).CreateTopics, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{cfg}})
	if err == nil {
		err = res.Errors[t.Name]
	}
	if errors.Is(err, kafka.InvalidReplicationFactor) {
		return fmt.Errorf("create topic %q: %w; set kafka.replication to at most the number of brokers (brokers before Kafka 2.4 have no default for it)", t.Name, err)
	}
	if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
		return fmt.Errorf("create topic %q: %w", t.Name, err)
	}
	// The creation is acknowledged before the leaders serve the partitions. Bounds succeeds only
	// when they do.
	for {
		bounds, err := c.Bounds(ctx, t.Name)
		if err == nil && len(bounds) > 0 {
			return nil
		}
		c.refreshMetadata(ctx, err, false)
		if err := sleep.For(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("wait for topic %q: %w", t.Name, err)
		}
	}
}

// Partitions returns the number of partitions of the topic, or ErrNoTopic.
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	res, err := callAPI(ctx, c.api(5*time.Second).Metadata, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, fmt.Errorf("describe topic %q: %w", topic, err)
	}
	for _, t := range res.Topics {
		if t.Name != topic {
			continue
		}
		if errors.Is(t.Error, kafka.UnknownTopicOrPartition) {
			break
		}
		if t.Error != nil {
			return 0, fmt.Errorf("describe topic %q: %w", topic, t.Error)
		}
		if len(t.Partitions) > 0 {
			return len(t.Partitions), nil
		}
	}
	return 0, fmt.Errorf("describe topic %q: %w", topic, ErrNoTopic)
}

// MaxRecordBytes returns the largest compressed batch of records that the topic accepts: its
// max.message.bytes, or the brokers' default. It fails if the user may not see the configuration.
func (c *Client) MaxRecordBytes(ctx context.Context, topic string) (int, error) {
	value, err := c.topicConfig(ctx, topic, maxMessageBytes)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("describe topic %q: its %s is %q: %w", topic, maxMessageBytes, value, err)
	}
	return n, nil
}

// Retention returns for how long the topic keeps a record, counted from the record's own time; 0:
// forever, or counted from the time at which the brokers received it.
func (c *Client) Retention(ctx context.Context, topic string) (time.Duration, error) {
	value, err := c.topicConfig(ctx, topic, retentionMillis)
	if err != nil {
		return 0, err
	}
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("describe topic %q: its %s is %q: %w", topic, retentionMillis, value, err)
	}
	kind, err := c.topicConfig(ctx, topic, timestampType)
	if err != nil || kind == "LogAppendTime" || ms < 0 {
		return 0, err
	}
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond, nil
}

// topicConfig returns the value of a topic's setting, or ErrNoTopic, which it may also return for a
// topic that was just created, if the broker asked does not know it yet.
func (c *Client) topicConfig(ctx context.Context, topic, name string) (string, error) {
	res, err := callAPI(ctx, c.api(5*time.Second).DescribeConfigs, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{name}}},
	})
	if err != nil {
		return "", fmt.Errorf("describe topic %q: %w", topic, err)
	}
	for _, r := range res.Resources {
		if errors.Is(r.Error, kafka.UnknownTopicOrPartition) {
			return "", fmt.Errorf("describe topic %q: %w", topic, ErrNoTopic)
		}
		if r.Error != nil {
			return "", fmt.Errorf("describe topic %q: %w", topic, r.Error)
		}
		for _, e := range r.ConfigEntries {
			if e.ConfigName == name && e.ConfigValue != "" {
				return e.ConfigValue, nil
			}
		}
	}
	return "", fmt.Errorf("describe topic %q: the brokers do not report its %s", topic, name)
}

// Bounds are the range of offsets that a partition holds: [First, End).
type Bounds struct {
	First int64 // of the oldest record that still exists
	End   int64 // of the next record to be written
}

// Readable reports whether reading can continue at the offset without a gap: the record exists, or
// is the next to be written.
func (b Bounds) Readable(offset int64) bool { return b.First <= offset && offset <= b.End }

// BoundsSince returns the bounds of every partition of the topic, where First is the offset of the
// first record whose time is t or later, or End if there is none. The zero time selects everything.
func (c *Client) BoundsSince(ctx context.Context, topic string, t time.Time) (map[int]Bounds, error) {
	bounds, err := c.Bounds(ctx, topic)
	if err != nil || t.IsZero() {
		return bounds, err
	}
	var reqs []kafka.OffsetRequest
	for p := range bounds {
		reqs = append(reqs, kafka.TimeOffsetOf(p, t))
	}
	res, err := callAPI(ctx, c.api(10*time.Second).ListOffsets, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: reqs}})
	if err != nil {
		return nil, fmt.Errorf("list offsets of topic %q: %w", topic, err)
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("list offsets of topic %q, partition %d: %w", topic, p.Partition, p.Error)
		}
		b := bounds[p.Partition]
		first := b.End
		for offset := range p.Offsets { // one; -1: none
			if offset >= 0 {
				first = max(b.First, min(offset, b.End))
			}
		}
		bounds[p.Partition] = Bounds{First: first, End: b.End}
	}
	return bounds, nil
}

// Bounds returns the bounds of the topic's partitions, or of those named. With an error, it returns
// the bounds of those partitions whose leader answered, so that one without a leader does not
// affect the others.
//
// It costs two requests per partition.
func (c *Client) Bounds(ctx context.Context, topic string, partitions ...int) (map[int]Bounds, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	var reqs []kafka.OffsetRequest
	for p := range n {
		if len(partitions) == 0 || slices.Contains(partitions, p) {
			reqs = append(reqs, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
		}
	}
	if len(reqs) == 0 {
		return nil, nil
	}
	res, err := callAPI(ctx, c.api(10*time.Second).ListOffsets, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: reqs}})
	if err != nil {
		c.refreshMetadata(ctx, err, false)
		return nil, fmt.Errorf("list offsets of topic %q: %w", topic, err)
	}
	bounds := make(map[int]Bounds, n)
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			err = fmt.Errorf("list offsets of topic %q, partition %d: %w", topic, p.Partition, p.Error)
			continue
		}
		bounds[p.Partition] = Bounds{First: p.FirstOffset, End: p.LastOffset}
	}
	c.refreshMetadata(ctx, err, false)
	return bounds, err
}

// BoundsOf returns the bounds of one partition, from a *Client or a stand-in. Problems of other
// partitions are ignored.
func BoundsOf(ctx context.Context, kafka interface {
	Bounds(ctx context.Context, topic string, partitions ...int) (map[int]Bounds, error)
}, topic string, partition int,
) (Bounds, error) {
	all, err := kafka.Bounds(ctx, topic, partition)
	if b, ok := all[partition]; ok {
		return b, nil
	}
	if err == nil {
		err = fmt.Errorf("topic %q has no partition %d", topic, partition)
	}
	return Bounds{}, err
}
