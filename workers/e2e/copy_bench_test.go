//go:build stack

package e2e

import (
	"encoding/json"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	copyFiles   = flag.Int("copy.files", 2_000, "files per run")
	copyBytes   = flag.Int("copy.bytes", 11_000, "compressed size of each file")
	copyAlone   = flag.Bool("copy.alone", false, "stage each small file as an object of its own")
	copyDelay   = flag.Duration("copy.delay", 0, "delay added to every answer of S3")
	copyRound   = flag.Int("copy.round", 0, "number of the round; decides which contestant is first")
	copySet     = flag.String("copy.set", "", "additional configuration: key=value, separated by semicolons")
	copyOnly    = flag.Bool("copy.only", false, "run only the copier")
	copyProfile = flag.String("copy.profile", "", "file for the copier's CPU profile")
	copyLabel   = flag.String("copy.label", "", "label of the run in its results")
	copyCommit  = flag.String("copy.commit", "", "commit of the binary that SEALIFT_BIN names")
	copyOut     = flag.String("copy.out", "", "file to which results are appended, one line of JSON each")
)

// BenchmarkCopy has one copier, a process of the binary as operators run it, deliver files that
// were staged before, with jobs that arrive all at once, on the servers of scripts/stack.sh, and
// has `sealift verify` confirm the result. In turns with it run loops of bare net/http over the
// same bytes, with the same concurrency:
//
//	put       PUTs the files from memory, as cheaply as the server allows
//	object    PUTs them as a delivery does: only if absent, with checksum, encryption, metadata
//	requests  makes all requests of a delivery, one after the other: GET from
//	          staging, PUT, PUT of the receipt, which a copier writes together
//	          with others of the entry
//
// scripts/bench-copy.sh calls it, and says how to read the results.
func BenchmarkCopy(b *testing.B) {
	for b.Loop() {
		r := newCopyRig(b, stackServers(b))
		turns := []func() copyRun{r.copier, r.putLoop, r.objectLoop, r.requestLoop}
		if *copyOnly {
			turns = turns[:1]
		}
		for i := range turns {
			run := r.recordResult(turns[(i+*copyRound)%len(turns)]())
			b.ReportMetric(float64(run.Files)/run.WallSeconds, run.What+"-files/s")
			b.ReportMetric(run.CPUSeconds/float64(run.Files)*1e3, run.What+"-cpu-ms/file")
		}
		r.clean()
	}
}

// copyRun is what delivering all files once took; one line of JSON.
type copyRun struct {
	What    string `json:"what"`  // copier, put, object or requests
	Label   string `json:"label"` // what was run: a git ref, a name
	Commit  string `json:"commit"`
	Time    string `json:"time"`
	Round   string `json:"round"` // the same for everything that ran in turns over the same files
	Machine string `json:"machine"`

	Files       int   `json:"files"`
	FileBytes   int   `json:"file_bytes"`
	Bytes       int64 `json:"bytes"`
	Packed      bool  `json:"packed"`
	DelayMs     int64 `json:"delay_ms"`
	Concurrency int   `json:"concurrency"`

	WallSeconds      float64 `json:"wall_seconds"`
	CPUSeconds       float64 `json:"cpu_seconds"`        // of the client's process; 0: unknown
	ServerCPUSeconds float64 `json:"server_cpu_seconds"` // of MinIO
}

// recordResult completes a run and writes it to the file of results.
func (r *copyRig) recordResult(run copyRun) copyRun {
	run.Label, run.Commit, run.Time, run.Machine = *copyLabel, *copyCommit, time.Now().UTC().Format(time.RFC3339), machine()
	run.Files, run.FileBytes, run.Packed, run.DelayMs, run.Concurrency = *copyFiles, *copyBytes, r.packed(), copyDelay.Milliseconds(), copyConcurrency
	run.Bytes, run.Round = r.bytes, r.tag
	line, err := json.Marshal(run)
	require.NoError(r.b, err)
	if *copyOut == "" {
		r.b.Logf("%s", line)
		return run
	}
	appendLine(r.b, *copyOut, line)
	return run
}

func copySettings() []string {
	return append(strings.FieldsFunc(*copySet, func(r rune) bool { return r == ';' }), "admin.pprof=true")
}
