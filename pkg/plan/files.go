package plan

import (
	"math"

	"github.com/sealift/sealift/pkg/delivery"
)

// zipfHead flattens Zipf's law at its head, as pkg/sample does. Otherwise one of many sources would
// have nearly all events.
const zipfHead = 8

// shares returns the sources' shares of the events, largest first.
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

// rollFiles describes the files that one roll (by default an hour) of events results in.
type rollFiles struct {
	count       float64 // cut at the turn of the hour or by size
	cutBySize   float64 // those that were cut because they were full
	gzip        float64 // bytes
	small       float64 // those that are packed
	smallGzip   float64 // bytes of those
	hottest     float64 // share of the largest source
	medianBytes float64 // bytes of the median source's file, compressed
	spread      int     // sources that are spread
}

// cores returns how many of the appenders' cores a source with that share keeps busy at the peak.
// One goroutine reads a partition, so it cannot keep up if that is more than Utilisation.
func (l Load) cores(share float64, m Measured) float64 {
	return l.EventsPerSecond * l.Peak * l.EventBytes * m.AppenderPerByte * share
}

// roll computes the files for events that are spread over the sources: one for each source and
// partition that has any, and one more for each time that it is full.
func (l Load) roll(events float64, m Measured) rollFiles {
	shares := l.shares()
	f := rollFiles{hottest: shares[0]}
	for i, share := range shares {
		parts := 1.0
		if l.Spread > 1 && l.cores(share, m) > l.Utilisation {
			parts = float64(l.Spread)
			f.spread++
		}
		mean := events * share / parts
		anyEvent := -math.Expm1(-mean) // probability of any event, if arrivals are independent
		gz := mean*l.EventBytes*m.GzipPerByte + anyEvent*m.GzipPerFile
		cuts := math.Floor(gz / l.MaxBytes)
		f.count += parts * (anyEvent + cuts)
		f.cutBySize += parts * cuts
		f.gzip += parts * gz
		if rest := gz - cuts*l.MaxBytes; rest < anyEvent*delivery.PackedBelow {
			f.small += parts * anyEvent
			f.smallGzip += parts * rest
		}
		if i == len(shares)/2 {
			f.medianBytes = gz
		}
	}
	return f
}
