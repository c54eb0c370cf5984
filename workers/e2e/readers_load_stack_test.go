//go:build stack

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reader runs what the page for customers shows, with the tools of scripts/readers.
type reader struct {
	dir   string // where commands run
	env   []string
	names *strings.Replacer // from the page's names to those of the test
}

// run runs a command, and returns what it prints.
func (r reader) run(ctx context.Context, t *testing.T, command ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, readersScript, command...)
	cmd.Dir, cmd.Env = r.dir, r.env
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, "%q\n%s", command, problems.String())
	return string(out)
}

// load loads the files twice, and one file once more under another name, so that its messages are
// there twice: the table must have every line once, and the view every message once.
func (r reader) load(ctx context.Context, t *testing.T, events int) {
	load, view := customersCode(t, "Load every file once", "python"), customersCode(t, "Leave out duplicates", "sql")
	program := fmt.Sprintf(`
import json, sys
sys.path.insert(0, %q)
import duckdb
from read import open_s3
%s
open_s3()
count = lambda table: duckdb.sql(f'SELECT count(*) FROM {table}').fetchone()[0]
load(duckdb)
load(duckdb)
loaded = count('events')
duckdb.sql("INSERT INTO events SELECT 'again', * EXCLUDE file FROM events WHERE file = (SELECT min(file) FROM events)")
again = count('events')
duckdb.sql("""%s""")
print(json.dumps([loaded, again, count('distinct_events')]))
`, filepath.Dir(readersScript), strings.Join(load, "\n"), strings.Join(view, "\n"))
	var counts []int
	require.NoError(t, json.Unmarshal([]byte(r.run(ctx, t, "python", "-c", r.names.Replace(program))), &counts))
	require.Len(t, counts, 3)
	require.Equal(t, events, counts[0])
	require.Greater(t, counts[1], events)
	require.Equal(t, events, counts[2])
}

// hive creates the table that the page shows for Athena in Spark, with Hive's reader, which is
// Athena's too, and reads the day's files: each line must be there as it is. Spark does not know
// how Athena finds the partitions, so one is added.
func (r reader) hive(ctx context.Context, t *testing.T, day string, want []string) {
	create, _, ok := strings.Cut(strings.Join(customersCode(t, "Load every file once", "sql"), "\n"), ";")
	require.True(t, ok)
	create = strings.Replace(create, "LOCATION 's3://acme-logs/segment-logs/'", "LOCATION 'file:"+r.dir+"'", 1)
	program := fmt.Sprintf(`
import json
from pyspark.sql import SparkSession
spark = SparkSession.builder.master('local[2]').enableHiveSupport().config('spark.ui.enabled', 'false') \
    .config('spark.driver.bindAddress', '127.0.0.1').config('spark.driver.host', '127.0.0.1') \
    .config('spark.sql.variable.substitute', 'false').getOrCreate()
spark.sql(%[1]q)
spark.sql("ALTER TABLE events ADD PARTITION (source = 'web', day = %[2]s) LOCATION 'file:%[3]s/logs/%[2]s'")
print(json.dumps([row.line for row in spark.sql("SELECT line FROM events WHERE source = 'web' AND day >= %[2]s").collect()]))
`, create, day, r.dir)
	var lines []string
	require.NoError(t, json.Unmarshal([]byte(r.run(ctx, t, "python", "-c", program)), &lines))
	slices.Sort(want)
	slices.Sort(lines)
	require.Equal(t, want, lines)
}

// erase erases a person's events from the bucket.
func (r reader) erase(ctx context.Context, t *testing.T, person string) {
	shell, program := customersCode(t, "Erase a person's events", "sh"), customersCode(t, "Erase a person's events", "python")
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "forget.py"), []byte(strings.Join(program, "\n")), 0o600))
	require.Len(t, shell, 3)
	for _, line := range shell {
		said := r.run(ctx, t, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(r.names.Replace(line), " u42 ", " "+person+" "))
		if strings.HasPrefix(line, "aws s3 sync erase") {
			require.Contains(t, said, "upload: ")
		}
	}
}

// withoutOne returns a person who has sent some of the lines, and the lines without theirs.
func withoutOne(t *testing.T, lines map[string][]byte) (person string, left map[string][]byte) {
	t.Helper()
	senders := func(line []byte) []string {
		var e struct{ UserID, AnonymousID, PreviousID string }
		require.NoError(t, json.Unmarshal(line, &e))
		return []string{e.UserID, e.AnonymousID, e.PreviousID}
	}
	for _, line := range lines {
		person = cmp.Or(person, senders(line)[0])
	}
	require.NotEmpty(t, person)
	left = maps.Clone(lines)
	maps.DeleteFunc(left, func(_ string, line []byte) bool { return slices.Contains(senders(line), person) })
	return person, left
}
