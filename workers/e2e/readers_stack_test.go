//go:build stack

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/sample"
)

// TestReadersOfTheFiles runs what the page for customers gives for reading delivered files,
// unchanged except for names, with the real tools: each must find every event once. Then it loads
// them into a database, and erases a user's events, as the page says.
func TestReadersOfTheFiles(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	installed := make(chan error, 1)
	go func() {
		out, err := exec.CommandContext(ctx, readersScript, "install").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s install: %w\n%s", readersScript, err, out)
		}
		installed <- err
	}()
	on := stackServers(t)
	s := newSystem(t, on, 0, fleet{collectors: 1, appenders: 1, copiers: 1, auditors: 1, appender: "roll_every: 2s, grace: 1s"})
	source := "web-" + s.tag
	bucket := &destination{name: "main", bucket: "e2e-" + s.tag + "-readers", sources: []string{source}}
	s.workspaces = []workspace{{id: "ws_e2ereaders" + strings.Repeat("0", 16), sources: bucket.sources, destinations: []*destination{bucket}}}
	s.start(ctx)
	// The commands are about one day.
	if midnight := time.Until(time.Now().Truncate(24 * time.Hour).Add(24 * time.Hour)); midnight < 3*time.Minute {
		t.Logf("waiting %v for midnight", midnight.Round(time.Second))
		time.Sleep(midnight)
	}
	const events = 3000
	seen := newDeliveryCounter(s)
	for i := range 3 { // one or more files each time
		postSample(ctx, t, "http://"+s.listen[0], source, events/3)
		seen.wait(ctx, t, "deliveries", func() bool { return seen.lines.Load() >= int64(i+1)*events/3 })
	}
	s.stop()
	require.NoError(t, <-installed)

	stored := readLines(ctx, t, on, bucket)[source]
	require.Len(t, stored, events)
	var want [][]string
	for id, line := range stored {
		want = append(want, []string{id, typeOfLine(t, line)})
	}
	days := map[string]bool{}
	tree := map[string]int64{}
	for o, err := range objects(ctx, store(on, bucket.bucket)) {
		require.NoError(t, err)
		parts := strings.Split(o.Key, "/")
		days[parts[2]] = true
		tree[parts[2]+"/"+parts[3]]++
	}
	require.Len(t, days, 1)
	day := sorted(days)[0]

	shell, python := customersCode(t, "Read the files", "sh"), customersCode(t, "Read the files", "python")
	bin, err := binary()
	require.NoError(t, err)
	dir := t.TempDir()
	names := strings.NewReplacer("acme-logs", bucket.bucket, "segment-logs/web", "segment-logs/"+source, "--source web", "--source "+source,
		"2026-11-22", dateOf(t, day), "1795305600000", day)
	for _, line := range shell {
		cmd := exec.CommandContext(ctx, readersScript, "bash", "-euo", "pipefail", "-c", names.Replace(line))
		cmd.Dir = dir
		cmd.Env = append(append(os.Environ(), s.env()...), "AWS_ENDPOINT_URL="+on.s3, "PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"))
		var problems bytes.Buffer
		cmd.Stderr = &problems
		out, err := cmd.Output()
		require.NoError(t, err, "%s\n%s", line, problems.String())
		switch said := string(out); {
		case strings.HasPrefix(line, "sealift files ls"):
			require.Contains(t, said, dateOf(t, day))
		case strings.HasPrefix(line, "sealift files sync"):
			require.Contains(t, said, fmt.Sprintf("%d files downloaded", len(tree)))
		case strings.HasPrefix(line, "sealift files cat"), strings.HasPrefix(line, "zcat"):
			ids := strings.Fields(said)
			slices.Sort(ids)
			require.Equal(t, sorted(stored), ids)
		case strings.HasPrefix(line, "aws s3 ls"):
			require.Equal(t, "PRE "+day+"/", strings.TrimSpace(said))
		case strings.Contains(line, " today "):
			require.Equal(t, len(tree), strings.Count(said, "download: "), said)
		case strings.HasPrefix(line, "aws s3 sync"):
			require.Empty(t, said, "sealift files sync did not fetch everything")
		default:
			t.Errorf("nothing checks %q", line)
		}
	}
	require.Len(t, shell, 7)
	require.Equal(t, sorted(tree), files(t, filepath.Join(dir, "logs")))
	for name := range tree {
		ours, err := os.ReadFile(filepath.Join(dir, "logs", name))
		require.NoError(t, err)
		theirs, err := os.ReadFile(filepath.Join(dir, "today", filepath.Base(name)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(ours, theirs), name)
	}

	require.Len(t, python, 4)
	python = append(python, "first_members(glob.glob('logs/*/*.gz'))")
	cmd := exec.CommandContext(ctx, readersScript, "read")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(names.Replace(strings.Join(python, "\n")))
	cmd.Env = append(append(os.Environ(), s.env()...), "AWS_ENDPOINT_URL="+on.s3)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, problems.String())
	slices.SortFunc(want, slices.Compare)
	require.Equal(t, len(python), bytes.Count(out, []byte("\n")))
	for line := range strings.Lines(string(out)) {
		var said struct {
			Code string
			Rows [][]string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &said))
		slices.SortFunc(said.Rows, slices.Compare)
		require.Equal(t, want, said.Rows, said.Code)
		t.Logf("%d events: %s", len(said.Rows), said.Code)
	}

	r := reader{dir: dir, env: append(append(os.Environ(), s.env()...), "AWS_ENDPOINT_URL="+on.s3), names: names}
	r.load(ctx, t, events)
	var lines []string
	for _, line := range stored {
		lines = append(lines, string(line))
	}
	r.hive(ctx, t, day, lines)

	person, left := withoutOne(t, stored)
	r.erase(ctx, t, person)
	require.Equal(t, left, readLines(ctx, t, on, bucket)[source])
	for o, err := range objects(ctx, store(on, bucket.bucket)) {
		require.NoError(t, err)
		require.Equal(t, []string{"text/plain", "gzip"}, []string{o.ContentType, o.ContentEncoding}, o.Key)
	}
}

// readersScript is scripts/readers/run.sh, for use from any folder.
var readersScript, _ = filepath.Abs("../../scripts/readers/run.sh")

// postSample sends events of the sample to a source, in batches.
func postSample(ctx context.Context, t *testing.T, collector, source string, events int) {
	t.Helper()
	var batch []json.RawMessage
	for e := range sample.New(sample.Config{Seed: uint64(time.Now().UnixNano())}).Take(events) {
		batch = append(batch, e.Body)
	}
	for some := range slices.Chunk(batch, 250) {
		body, err := json.Marshal(map[string]any{"writeKey": writeKey(source), "batch": some})
		require.NoError(t, err)
		postUntilTaken(ctx, t, collector+"/v1/batch", body)
	}
}

// customersCode returns the lines of code in a language below a heading of the page for customers.
func customersCode(t *testing.T, heading, language string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile("../sealift/RECEIVING.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	require.True(t, ok, heading)
	rest, _, _ = strings.Cut(rest, "\n## ")
	for _, block := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(rest, -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	return lines
}

func typeOfLine(t *testing.T, line []byte) string {
	t.Helper()
	var call struct{ Type string }
	require.NoError(t, json.Unmarshal(line, &call))
	return call.Type
}

// dateOf formats a day's folder as a date.
func dateOf(t *testing.T, day string) string {
	t.Helper()
	var ms int64
	_, err := fmt.Sscan(day, &ms)
	require.NoError(t, err)
	return time.UnixMilli(ms).UTC().Format(time.DateOnly)
}

// files lists what is below a folder, sorted.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, rerr := filepath.Rel(dir, path)
			names, err = append(names, filepath.ToSlash(name)), rerr
		}
		return err
	}))
	slices.Sort(names)
	return names
}
