//go:build !stack

package e2e

import "testing"

func TestOffsetsSetByToolsEmbedded(t *testing.T) {
	t.Parallel()
	offsetsSetByTools(t, newPipeline(t))
}

func TestStagingThatIsNotTheLedgersEmbedded(t *testing.T) {
	t.Parallel()
	stagingThatIsNotTheLedgers(t, newPipeline(t))
}

func TestMorePartitionsEmbedded(t *testing.T) {
	t.Parallel()
	morePartitions(t, newPipeline(t))
}

func TestTakeoverEmbedded(t *testing.T) {
	t.Parallel()
	takeover(t, embeddedServers(t))
}
