package plan

import (
	"math"

	"github.com/sealift/sealift/pkg/delivery"
)

// zipfHead flattens Zipf's law at its head, as pkg/sample does: without, one
// source of many would have nearly everything.
const zipfHead = 8

// shares are the sources' shares of the events, largest first.
func (l Load) shares() []float64 {
	shares, sum := make([]float64, l.Sources), 0.0
	for i := range shares {
		shares[i] = math.Pow(zipfHead+float64(i), -l.Skew)
		sum += shares[i]
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares
}

// files says what one roll (an hour, by default) of so many events becomes.
type files struct {
	count    float64 // at the turn and by size
	bySize   float64 // of them, those that were cut because they were full
	gzip     float64 // bytes
	small    float64 // of them, those that are packed
	smallGz  float64 // bytes of these
	hottest  float64 // share of the largest source
	atMedian float64 // bytes of the median source's file, compressed
	spread   int     // sources that are spread
}

// cores is how many of the appenders' cores a source of that share keeps busy at
// the peak. One goroutine reads a partition, so more than Utilisation is more
// than one carries.
func (l Load) cores(share float64, m Measured) float64 {
	return l.EventsPerSecond * l.Peak * l.EventBytes * m.AppenderPerByte * share
}

// roll computes the files of events spread over the sources: one for each source
// and partition that has any, and one more for each time that it is full.
func (l Load) roll(events float64, m Measured) files {
	shares := l.shares()
	f := files{hottest: shares[0]}
	for i, share := range shares {
		parts := 1.0
		if l.Spread > 1 && l.cores(share, m) > l.Utilisation {
			parts = float64(l.Spread)
			f.spread++
		}
		mean := events * share / parts
		any := -math.Expm1(-mean) // arrivals are independent
		gz := mean*l.EventBytes*m.GzipPerByte + any*m.GzipPerFile
		cuts := math.Floor(gz / l.MaxBytes)
		f.count += parts * (any + cuts)
		f.bySize += parts * cuts
		f.gzip += parts * gz
		if rest := gz - cuts*l.MaxBytes; rest < any*delivery.PackedBelow {
			f.small += parts * any
			f.smallGz += parts * rest
		}
		if i == len(shares)/2 {
			f.atMedian = gz
		}
	}
	return f
}
