//go:build stack

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// stackPipeline is a pipeline on the brokers of scripts/stack.sh.
func stackPipeline(t *testing.T) *pipeline {
	t.Helper()
	topic := fmt.Sprintf("pipeline-%x", time.Now().UnixNano())
	return newPipelineOn(t, &pipeline{
		brokers: strings.Split(env(t, "SEALIFT_TEST_KAFKA"), ","),
		topic:   topic, jobs: topic + ".jobs", dead: topic + ".dead", session: 6 * time.Second,
	})
}

func TestOffsetsSetByToolsStack(t *testing.T) {
	t.Parallel()
	offsetsSetByTools(t, stackPipeline(t))
}

func TestStagingThatIsNotTheLedgersStack(t *testing.T) {
	t.Parallel()
	stagingThatIsNotTheLedgers(t, stackPipeline(t))
}

func TestMorePartitionsStack(t *testing.T) {
	t.Parallel()
	morePartitions(t, stackPipeline(t))
}

func TestTakeoverStack(t *testing.T) {
	t.Parallel()
	takeover(t, stackServers(t))
}
