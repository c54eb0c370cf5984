//go:build !stack

package e2e

import "testing"

func TestOffsetsSetByToolsEmbedded(t *testing.T) { offsetsSetByTools(t, newPipeline(t)) }

func TestStagingThatIsNotTheLedgersEmbedded(t *testing.T) {
	stagingThatIsNotTheLedgers(t, newPipeline(t))
}

func TestMorePartitionsEmbedded(t *testing.T) { morePartitions(t, newPipeline(t)) }

func TestTakeoverEmbedded(t *testing.T) { takeover(t, embeddedServers(t)) }
