package plan

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/sealift/sealift/pkg/strictjson"
)

// Measured contains the constants that only a benchmark can tell: the cost of a unit of work. `make
// bench-plan` writes them to measured.json. It takes them from runs with different ratios of bytes
// to files, so that the share of each can be computed.
type Measured struct {
	Time    string `json:"time"`
	Machine string `json:"machine"`
	Commit  string `json:"commit"`
	Command string `json:"command"`
	Runs    int    `json:"runs"`
	Level   int    `json:"level"` // of gzip

	// Bytes are those of stored lines, unless the name says gzip.
	CollectorPerByte float64 `json:"collector_cpu_seconds_per_byte"`
	AppenderPerByte  float64 `json:"appender_cpu_seconds_per_byte"`
	AppenderPerFile  float64 `json:"appender_cpu_seconds_per_file"`
	CopierPerByte    float64 `json:"copier_cpu_seconds_per_gzip_byte"`
	CopierPerFile    float64 `json:"copier_cpu_seconds_per_file"`
	GzipPerByte      float64 `json:"gzip_bytes_per_byte"`
	GzipPerFile      float64 `json:"gzip_bytes_per_file"`
	KafkaPerByte     float64 `json:"kafka_bytes_per_byte"` // on one broker's disk
	// The largest process of each role in any run.
	CollectorRSS int64 `json:"collector_rss_bytes"`
	AppenderRSS  int64 `json:"appender_rss_bytes"`
	CopierRSS    int64 `json:"copier_rss_bytes"`
}

//go:embed measured.json
var measured []byte

// Default returns the constants embedded in this build.
func Default() (Measured, error) { return Decode(measured) }

// Decode parses constants as written by Encode.
func Decode(b []byte) (m Measured, err error) {
	if err := strictjson.Decode(b, &m); err != nil {
		return m, fmt.Errorf("read measured constants: %w", err)
	}
	if m.AppenderPerByte <= 0 || m.CopierPerFile <= 0 || m.GzipPerByte <= 0 {
		return m, errors.New("read measured constants: appender, copier and gzip must be above 0; run `make bench-plan`")
	}
	return m, nil
}

// Encode returns the file's bytes.
func (m Measured) Encode() []byte {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil { // no field can fail to marshal
		panic(err)
	}
	return append(b, '\n')
}

// Fit returns the constants that follow from runs. It needs at least two runs of appenders and
// copiers with different ratios of files to bytes, and one of a collector.
func Fit(runs []Run, command string) (Measured, error) {
	m := Measured{Command: command, Runs: len(runs)}
	var appender, copier, gzip points
	var kafka, lines, collected, collecting float64
	for _, r := range runs {
		m.Time, m.Machine, m.Commit, m.Level = r.Time, r.Machine, r.Commit, r.Level
		kafka, lines = kafka+float64(r.KafkaBytes), lines+float64(r.Bytes)
		if c, ok := r.Roles["collector"]; ok {
			collected, collecting = collected+float64(r.Bytes), collecting+c.CPUSeconds
			m.CollectorRSS = max(m.CollectorRSS, c.PeakRSS)
		}
		if r.Files == 0 {
			continue
		}
		n := float64(r.Files)
		appender = append(appender, [3]float64{float64(r.Bytes), n, r.Roles["appender"].CPUSeconds})
		copier = append(copier, [3]float64{float64(r.GzipBytes), n, r.Roles["copier"].CPUSeconds})
		gzip = append(gzip, [3]float64{float64(r.Bytes), n, float64(r.GzipBytes)})
		m.AppenderRSS = max(m.AppenderRSS, r.Roles["appender"].PeakRSS)
		m.CopierRSS = max(m.CopierRSS, r.Roles["copier"].PeakRSS)
	}
	if len(appender) < 2 || collected == 0 {
		return m, errors.New("fit constants: want two runs of appenders and copiers, of few and of many files, and one of a collector")
	}
	m.AppenderPerByte, m.AppenderPerFile = appender.fit()
	m.CopierPerByte, m.CopierPerFile = copier.fit()
	m.GzipPerByte, m.GzipPerFile = gzip.fit()
	m.KafkaPerByte, m.CollectorPerByte = kafka/lines, collecting/collected
	return m, nil
}

// points are triples x, y and z, where z is approximately a*x + b*y.
type points [][3]float64

// fit returns a and b, neither below 0, with the least sum of squares of relative errors, so that a
// large run counts no more than a small one.
func (p points) fit() (a, b float64) {
	var xx, xy, yy, x1, y1 float64
	for _, q := range p {
		x, y := q[0]/q[2], q[1]/q[2]
		xx, xy, yy, x1, y1 = xx+x*x, xy+x*y, yy+y*y, x1+x, y1+y
	}
	if det := xx*yy - xy*xy; det > 1e-12*xx*yy {
		a, b = (x1*yy-y1*xy)/det, (y1*xx-x1*xy)/det
	}
	switch {
	case a <= 0 && b <= 0, b < 0:
		return x1 / xx, 0
	case a < 0:
		return 0, y1 / yy
	}
	return a, b
}

// CPU returns the CPU seconds of a run's appenders and copiers according to the constants, for
// comparison with the measured ones.
func (m Measured) CPU(r Run) (appender, copier float64) {
	n := float64(r.Files)
	return m.AppenderPerByte*float64(r.Bytes) + m.AppenderPerFile*n, m.CopierPerByte*float64(r.GzipBytes) + m.CopierPerFile*n
}

// ceil rounds up, but ignores the rounding errors of floating point.
func ceil(x float64) float64 { return math.Ceil(x - 1e-9) }
