//go:build stack

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// comparison is what an SDK was found to do differently.
type comparison struct {
	told map[string]any    // what earlier calls were told, for changes
	seen map[string]bool   // entries of the table that were seen, by what is added or why something changes
	more map[string]string // differences beyond the table: an example by type and path
}

// compare compares the lines of an SDK's messages with what it was told, and with what it put on
// the wire.
func (s sdk) compare(t *testing.T, run *sdkRun, lines map[string][]byte) {
	t.Helper()
	require.Empty(t, run.wire.wrong)
	require.Positive(t, run.wire.statuses[http.StatusServiceUnavailable])
	require.Positive(t, run.wire.retries)
	c := comparison{told: map[string]any{}, seen: map[string]bool{}, more: map[string]string{}}
	for _, id := range run.order {
		require.NotNil(t, lines[id], "message %s is missing", id)
		var line map[string]any
		require.NoError(t, decodeExactly(lines[id], &line))
		s.api(t, id, line)
		requireOnWire(t, id, lines[id], run.wire.messages[id])
		require.WithinDuration(t, at(t, run.sent[id]["timestamp"]), at(t, line["originalTimestamp"]), 0, "%s", id)
		s.fields(&c, run.sent[id], line)
	}
	for _, kind := range sorted(c.more) {
		t.Errorf("the line is not what the SDK was told: %s", c.more[kind])
	}
	for _, change := range s.changes {
		require.True(t, c.seen[change.why], "no message has this difference: %s", change.why)
	}
	for _, member := range s.adds {
		require.True(t, c.seen[member], "the SDK never added %s", member)
	}
}

// fields compares a line with what the SDK was told, field by field.
func (s sdk) fields(c *comparison, sent, line map[string]any) {
	want, got := exact(sent).(map[string]any), exact(line).(map[string]any)
	for _, change := range s.changes {
		before := exact(want)
		change.apply(want, c.told)
		c.seen[change.why] = c.seen[change.why] || !reflect.DeepEqual(before, want)
	}
	for _, name := range []string{"timestamp", "originalTimestamp", "sentAt", "receivedAt", "projectId", "version", "channel"} {
		delete(got, name)
	}
	delete(want, "timestamp")
	leave(want, got, "context.library")
	leave(want, got, "integrations={}") // added by the API, if not by the SDK
	for _, member := range s.adds {
		c.seen[member] = leave(want, got, member) || c.seen[member]
	}
	for _, difference := range differences("", want, got) {
		path, _, _ := strings.Cut(difference, ":")
		kind := fmt.Sprint(want["type"], " ", path)
		c.more[kind] = fmt.Sprint(want["messageId"], " ", difference)
	}
}

// api checks what the API adds to a line.
func (s sdk) api(t *testing.T, id string, line map[string]any) {
	t.Helper()
	received, sentAt, original := at(t, line["receivedAt"]), at(t, line["sentAt"]), at(t, line["originalTimestamp"])
	require.WithinDuration(t, time.Now(), received, 15*time.Minute, "%s", id)
	// Both sentAt and timestamp are truncated to milliseconds.
	require.WithinDuration(t, received.Add(original.Sub(sentAt)), at(t, line["timestamp"]), 2*time.Millisecond, "%s", id)
	require.Equal(t, s.channel, line["channel"], "%s", id)
	require.Equal(t, json.Number("2"), line["version"], "%s", id)
	_, kept := line["writeKey"]
	require.False(t, kept, "%s has its writeKey", id)
	library, _ := line["context"].(map[string]any)["library"].(map[string]any)
	require.Equal(t, s.library, library["name"], "%s", id)
	require.NotEmpty(t, library["version"], "%s", id)
}

// requireOnWire compares a line with the copies of its message that the SDK sent: one of them must
// be in it byte for byte, with what it inherits from its batch, and with nothing but what the API
// adds.
func requireOnWire(t *testing.T, id string, line []byte, copies []onWire) {
	t.Helper()
	var problems []string
	for _, c := range copies {
		problem := c.differs(gjson.ParseBytes(line))
		if problem == "" {
			return
		}
		problems = append(problems, problem)
	}
	require.Fail(t, "the line is not what the SDK sent", "%s: %s", id, strings.Join(slices.Compact(problems), "; "))
}

// differs says where a line differs from its message, or "".
func (w onWire) differs(line gjson.Result) string {
	original := cmp.Or(w.item.Get("timestamp").Raw, w.item.Get("originalTimestamp").Raw)
	sent := cmp.Or(w.item.Get("sentAt").Raw, w.batch.Get("sentAt").Raw)
	if o, s := line.Get("originalTimestamp").Raw, line.Get("sentAt").Raw; o != original || s != inUTC(sent) {
		return fmt.Sprintf("originalTimestamp %s and sentAt %s, not %s and %s in UTC", o, s, original, sent)
	}
	for _, name := range []string{"context", "integrations"} {
		// Inherited members come before the message's own.
		own := members(w.item.Get(name))
		want := append(own.beside(members(w.batch.Get(name))), own...)
		got := members(line.Get(name))
		if name == "context" && !slices.ContainsFunc(want, func(m [2]string) bool { return m[0] == "ip" }) {
			got = got.without("ip") // added by the API
		}
		if !slices.Equal(want, got) {
			return name + ": " + apart(got, want)
		}
	}
	apis := []string{"context", "integrations", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "projectId", "version", "writeKey"}
	if !w.item.Get("channel").Exists() {
		apis = append(apis, "channel")
	}
	if !w.batch.Get("batch").Exists() {
		apis = append(apis, "type") // determined by the path
	}
	if want, got := members(w.item).without(apis...), members(line).without(apis...); !slices.Equal(want, got) {
		return apart(got, want)
	}
	return ""
}

// apart says where two values that are printed begin to differ: a message that holds all of them
// would be so long that nobody finds the end of it.
func apart(got, want any) string {
	const before, length = 40, 160
	g, w := fmt.Sprint(got), fmt.Sprint(want)
	same := 0
	for same < min(len(g), len(w)) && g[same] == w[same] {
		same++
	}
	some := func(text string) string {
		from := max(0, same-before)
		return fmt.Sprintf("%q", text[from:min(len(text), from+length)])
	}
	if same > before {
		return fmt.Sprintf("%s, not %s, from byte %d", some(g), some(w), same-before)
	}
	return some(g) + ", not " + some(w)
}

// inUTC formats a time that an SDK wrote as the API does.
func inUTC(raw string) string {
	t, err := time.Parse(`"`+time.RFC3339Nano+`"`, raw)
	if err != nil {
		return raw
	}
	return t.UTC().Format(`"2006-01-02T15:04:05.000Z"`)
}

// ordered has an object's members, as names and values, in order.
type ordered [][2]string

// members returns an object's members as they are written, except for white space.
func members(object gjson.Result) (all ordered) {
	object.ForEach(func(name, value gjson.Result) bool {
		all = append(all, [2]string{name.String(), compact(value.Raw)})
		return true
	})
	return all
}

func (o ordered) without(names ...string) ordered {
	return slices.DeleteFunc(slices.Clone(o), func(m [2]string) bool { return slices.Contains(names, m[0]) })
}

// beside returns the members of another object that are not in o.
func (o ordered) beside(other ordered) ordered {
	var names []string
	for _, m := range o {
		names = append(names, m[0])
	}
	return other.without(names...)
}

func compact(raw string) string {
	var b bytes.Buffer
	if raw == "" || json.Compact(&b, []byte(raw)) != nil {
		return raw
	}
	return b.String()
}

// differences says where two values differ, by dotted paths.
func differences(path string, want, got any) (all []string) {
	w, isObject := want.(map[string]any)
	g, both := got.(map[string]any)
	if !isObject || !both {
		if !reflect.DeepEqual(want, got) {
			all = append(all, fmt.Sprintf("%s: %s (%T, %T)", path, apart(got, want), got, want))
		}
		return all
	}
	names := maps.Clone(w)
	maps.Copy(names, g)
	for _, name := range sorted(names) {
		at := strings.TrimPrefix(path+"."+name, ".")
		wv, told := w[name]
		gv, has := g[name]
		switch {
		case !has:
			all = append(all, fmt.Sprintf("%s: missing, told %.160s", at, fmt.Sprint(wv)))
		case !told:
			all = append(all, fmt.Sprintf("%s: %.160s, not told", at, fmt.Sprint(gv)))
		default:
			all = append(all, differences(at, wv, gv)...)
		}
	}
	return all
}

// leave removes a member that only the line has, given by its dotted path and optionally its value;
// it returns whether there was one. An object that becomes empty is removed as well.
func leave(want, got map[string]any, member string) bool {
	path, value, known := strings.Cut(member, "=")
	name, rest, deeper := strings.Cut(path, ".")
	if deeper {
		inner, ok := got[name].(map[string]any)
		wanted, told := want[name].(map[string]any)
		if !ok || !leave(wanted, inner, strings.Replace(member, path, rest, 1)) {
			return false
		}
		if len(inner) == 0 && !told {
			delete(got, name)
		}
		return true
	}
	has, ok := got[name]
	if _, told := want[name]; told || !ok {
		return false
	}
	if text, _ := json.Marshal(has); known && string(text) != value {
		return false
	}
	delete(got, name)
	return true
}

// exact copies a value and makes numbers comparable digit by digit: 14.990 is 14.99, and 2^53+1 is
// not 2^53.
func exact(v any) any {
	switch v := v.(type) {
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return json.Number(r.RatString())
		}
		return v
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			out[name] = exact(value)
		}
		return out
	case []any:
		out := slices.Clone(v)
		for i := range out {
			out[i] = exact(out[i])
		}
		return out
	}
	return v
}

// A difference far inside of long values is shown, and little else.
func TestApart(t *testing.T) {
	long := strings.Repeat("ä", 5000)
	for name, c := range map[string]struct{ got, want, says string }{
		"short":     {"a", "b", `"a", not "b"`},
		"in_middle": {long + "x" + long, long + "y" + long, `x`},
		"split":     {long + "\xc3" + long, long + long, `\xc3`},
		"shorter":   {long, long + "end", `"ääääääääääääääääääää", not "ääääääääääääääääääääend", from byte 9960`},
	} {
		said := apart(c.got, c.want)
		require.Contains(t, said, c.says, name)
		require.Less(t, len(said), 800, name)
	}
}

func at(t *testing.T, v any) time.Time {
	t.Helper()
	text, _ := v.(string)
	parsed, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	return parsed
}
