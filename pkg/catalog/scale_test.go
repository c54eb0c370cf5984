package catalog

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scale is the number of workspaces or destinations in these tests.
const scale = 10_000

// shapes are the extremes: many customers with one destination each, and one customer with all
// destinations.
var shapes = []struct {
	name string
	make func() []Workspace
}{
	{"many_workspaces", manyWorkspaces},
	{"one_workspace", oneWorkspace},
}

// scaleID returns an id that looks, and compresses, like a generated one.
func scaleID(i int) string { return HashKey(fmt.Sprint(i))[:22] }

func scaleSource(i int) Source {
	id := scaleID(i)
	return Source{ID: id, Name: fmt.Sprintf("app %d", i), WriteKeys: []string{"wk_" + id}}
}

func scaleDestination(i int, bucket string) Destination {
	return Destination{
		Name: fmt.Sprintf("main-%d", i), Sources: []string{scaleSource(i).ID}, Bucket: bucket,
		Region: "eu-west-1", RoleARN: fmt.Sprintf("arn:aws:iam::%012d:role/segment-logs", i),
	}
}

func manyWorkspaces() []Workspace {
	var ws []Workspace
	for i := range scale {
		ws = append(ws, Workspace{
			ID: "ws_" + scaleID(i), Sources: []Source{scaleSource(i)},
			Destinations: []Destination{scaleDestination(i, fmt.Sprintf("acme-%d-logs/raw", i))},
		})
	}
	return ws
}

// oneWorkspace has all its destinations in one place, each for another source. That is the most
// expensive case that the rules on places allow.
func oneWorkspace() []Workspace {
	w := Workspace{ID: wsA}
	for i := range scale {
		w.Sources = append(w.Sources, scaleSource(i))
		w.Destinations = append(w.Destinations, scaleDestination(i, "acme-logs/raw"))
	}
	return []Workspace{w}
}

func BenchmarkScale(b *testing.B) {
	for _, shape := range shapes {
		ws := shape.make()
		text, err := MarshalYAML(ws)
		require.NoError(b, err)
		var encoded [][]byte
		for _, w := range ws {
			encoded = append(encoded, Encode(w))
		}
		bench := func(name string, fn func()) {
			b.Run(shape.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					fn()
				}
			})
		}
		bench("parse", func() {
			if _, err := Parse(text); err != nil {
				b.Fatal(err)
			}
		})
		bench("validate", func() {
			if err := (Operator{}).Validate(ws); err != nil {
				b.Fatal(err)
			}
		})
		bench("index", func() { index(ws, Operator{}) })
		bench("diff", func() { Diff(ws, ws) })
		bench("load", func() {
			l := NewLive()
			for i, v := range encoded {
				if err := l.Apply(ws[i].ID, v); err != nil {
					b.Fatal(err)
				}
			}
			l.Publish()
		})
		l := NewLive()
		for i, v := range encoded {
			require.NoError(b, l.Apply(ws[i].ID, v))
		}
		l.Publish()
		last := ws[len(ws)-1].ID
		bench("change", func() {
			if err := l.Apply(last, encoded[len(encoded)-1]); err != nil {
				b.Fatal(err)
			}
			l.Publish()
		})
		b.Logf("%s: %d B of YAML, %d B in the largest record", shape.name, len(text), len(encoded[len(encoded)-1]))
	}
}

// Ten thousand problems are found and reported briefly, at no more cost than a valid catalog,
// although each broken object would have to be compared with all others.
func TestBrokenAtScale(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(i int, d *Destination)
		says   string
	}{
		"unknown_sources": {func(_ int, d *Destination) { d.Sources = []string{"x" + d.Sources[0]} }, `the nearest source of the workspace is "`},
		"same_place":      {func(_ int, d *Destination) { d.Sources = []string{scaleSource(0).ID} }, "delivers to the same place|is delivered to the same place"},
		"nested_places": {func(i int, d *Destination) {
			d.Bucket = fmt.Sprintf("acme-logs/raw/segment-logs/%s/%d", d.Sources[0], i%2)
		}, ""},
		"no_bucket": {func(_ int, d *Destination) { d.Bucket = "" }, "it is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			ws := oneWorkspace()
			for i := 1; i < scale; i++ { // the first one is valid
				c.breaks(i, &ws[0].Destinations[i])
			}
			err := Operator{}.Validate(ws)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			var invalid *Error
			require.ErrorAs(t, err, &invalid)
			require.Len(t, invalid.Problems, scale-1)
			require.Regexp(t, c.says, err.Error())
			require.Contains(t, err.Error(), "and 9979 more")
			require.Less(t, len(err.Error()), 64<<10)
		})
	}
}

// BenchmarkLookupDuringChanges measures how long a request waits for its source while the catalog
// changes without pause: the slowest of a thousand.
func BenchmarkLookupDuringChanges(b *testing.B) {
	ws := manyWorkspaces()
	l := NewLive()
	for _, w := range ws {
		require.NoError(b, l.Apply(w.ID, Encode(w)))
	}
	l.Publish()
	stop, stopped := make(chan struct{}), make(chan struct{})
	value := Encode(ws[0])
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := l.Apply(ws[0].ID, value); err != nil {
				panic(err)
			}
			l.Publish()
		}
	}()
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, ok := l.Snapshot().SourceByWriteKey("wk_" + scaleID(42)); !ok {
			b.Fatal("not found")
		}
		took = append(took, time.Since(began))
		time.Sleep(time.Millisecond)
	}
	close(stop)
	<-stopped
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)-1-len(took)/1000].Nanoseconds()), "p99.9-ns")
}
