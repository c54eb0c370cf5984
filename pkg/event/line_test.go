package event

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/goldentest"
)

// unknown is the library of an event that does not name one.
const unknown = `"library":{"name":"unknown","version":"unknown"}`

var received = time.Date(2026, 11, 22, 18, 14, 8, 615e6, time.UTC)

func stamp() *Stamp {
	return &Stamp{
		ReceivedAt: received,
		ProjectID:  "qv5iYYMxd94DahFpRzm58y",
		IP:         netip.MustParseAddr("203.0.113.7"),
		NewID:      func() string { return "00000000-0000-4000-8000-000000000000" },
	}
}

func lines(t *testing.T, kind Kind, body string, st *Stamp) []string {
	t.Helper()
	var r Request
	require.NoError(t, r.Parse(kind, []byte(body)))
	var out []string
	total := 0
	for i := range r.Len() {
		line, _ := r.AppendLine(nil, i, st)
		require.True(t, json.Valid(line), "%s", line)
		require.NotContains(t, string(line), "\n")
		total += len(line)
		out = append(out, string(line))
	}
	require.LessOrEqual(t, total, r.LineBytes()+r.Len()*(len(st.ProjectID)+len(st.UserAgent)))
	return out
}

func line(t *testing.T, kind Kind, body string) string {
	t.Helper()
	all := lines(t, kind, body, stamp())
	require.Len(t, all, 1)
	return all[0]
}

func get(t *testing.T, line, name string) string {
	t.Helper()
	var m map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(line), &m))
	return string(m[name])
}

// Each kind of request gives the lines of its golden file.
func TestGoldenLines(t *testing.T) {
	for kind := range kindCount {
		t.Run(kind.String(), func(t *testing.T) {
			base := filepath.Join("testdata", "golden", kind.String())
			body, err := os.ReadFile(base + ".request.json")
			require.NoError(t, err)
			got := strings.Join(lines(t, kind, string(body), stamp()), "\n") + "\n"
			goldentest.Equal(t, base+".lines.ndjson", []byte(got))
		})
	}
}

func TestNestedValuesKeepTheirBytes(t *testing.T) {
	for hazard, value := range map[string]string{
		"big_integer":       `9007199254740993`,
		"huge_integer":      `123456789012345678901234567890`,
		"float_digits":      `1.10`,
		"exponent":          `-1E+400`,
		"negative_zero":     `-0`,
		"non_bmp":           `"👕 𝒳"`,
		"escaped_non_bmp":   `"\ud83d\udc55"`,
		"lone_surrogate":    `"\ud83d"`,
		"line_separator":    "\"a\u2028b\u2029c\"",
		"escaped_slash":     `"<\/script> & \u003c"`,
		"escaped_newline":   `"a\nb\u000a"`,
		"nul_escape":        `"\u0000"`,
		"delete_char":       "\"\x7f\"",
		"key_order":         `{"z":1,"a":2,"m":{"y":1,"b":2}}`,
		"repeated_key":      `{"a":1,"a":2}`,
		"empty_key":         `{"":{"":[]}}`,
		"nested_write_key":  `{"writeKey":"mine","receivedAt":"then"}`,
		"spaces_in_strings": `"  a : b , c\t "`,
		"backslash_at_end":  `"\\"`,
		"quote_at_word_end": `"1234567\"1234567\\"`,
		"empty_containers":  `[{},[],"",null,true,false]`,
	} {
		t.Run(hazard, func(t *testing.T) {
			got := line(t, Track, `{"userId":"u","properties":`+value+`,"unknown":`+value+`}`)
			require.Contains(t, got, `"properties":`+value+`,"unknown":`+value+`,`)
		})
	}
}

func TestWhiteSpaceIsRemovedOutsideStringsOnly(t *testing.T) {
	spaced := " \r\n{ \"userId\" :\t\"a  b\" ,\n \"properties\" : { \"l\" : [ 1 , { } , [ ] , \" x \" ] , \"n\" : null }\n } \n"
	tight := `{"userId":"a  b","properties":{"l":[1,{},[]," x "],"n":null}}`
	require.Equal(t, line(t, Track, tight), line(t, Track, spaced))

	batch := strings.ReplaceAll(`{#"sentAt"#:#"2026-11-22T18:14:08Z"#,#"batch"#:#[#{#"type"#:#"track"#}#,#{#"type"#:#"page"#}#]#,#"context"#:#{#"a"#:#1#}#}`, "#", " \n")
	got := lines(t, Batch, batch, stamp())
	require.Equal(t, lines(t, Batch, strings.NewReplacer(" ", "", "\n", "").Replace(batch), stamp()), got)
	require.Contains(t, got[1], `{"type":"page","context":{`+unknown+`,"a":1},"integrations":{},"messageId"`)
}

func TestInvalidUTF8IsReplacedNotRefused(t *testing.T) {
	got := line(t, Track, "{\"userId\":\"a\xffb\",\"event\":\"\xed\xa0\x80\"}")
	require.Contains(t, got, `"userId":"a�b","event":"�"`)
	require.Contains(t, line(t, Track, "\xef\xbb\xbf{\"userId\":\"bom\"}"), `{"userId":"bom",`)
}

func TestWriteKeyIsNeverStored(t *testing.T) {
	for hazard, body := range map[string]string{
		"first":    `{"writeKey":"sEcReT","event":"e"}`,
		"last":     `{"event":"e","writeKey":"sEcReT"}`,
		"alone":    `{"writeKey":"sEcReT"}`,
		"repeated": `{"writeKey":"sEcReT","event":"e","writeKey":"sEcReT2"}`,
		"escaped":  `{"wr\u0069teKey":"sEcReT","event":"e"}`,
		"object":   `{"writeKey":{"k":"sEcReT"}}`,
	} {
		t.Run(hazard, func(t *testing.T) {
			require.NotContains(t, line(t, Track, body), "sEcReT")
			batch := `{"batch":[` + body + `],` + body[1:]
			require.NotContains(t, line(t, Batch, batch), "sEcReT")
		})
	}
	var r Request
	require.NoError(t, r.Parse(Batch, []byte(`{"batch":[{"writeKey":"item"},{}],"writeKey":"top"}`)))
	require.Equal(t, []string{"top", "item", ""}, []string{r.WriteKey(), r.EventWriteKey(0), r.EventWriteKey(1)})
	require.NoError(t, r.Parse(Track, []byte(`{"wr\u0069teKey":"a\u0062c"}`)))
	require.Equal(t, "abc", r.WriteKey())
	require.NoError(t, r.Parse(Track, []byte(`{"writeKey":12}`)))
	require.Empty(t, r.WriteKey())
}

func TestTimestampIsCorrectedForSkew(t *testing.T) {
	const at, none = `"2026-11-22T18:14:08.615Z"`, ""
	for hazard, c := range map[string]struct{ body, original, sent, timestamp string }{
		"formula":             {`{"timestamp":"2026-11-22T18:14:08.580Z","sentAt":"2026-11-22T18:14:08.583Z"}`, `"2026-11-22T18:14:08.580Z"`, `"2026-11-22T18:14:08.583Z"`, `"2026-11-22T18:14:08.612Z"`},
		"clock_a_year_off":    {`{"timestamp":"2025-11-22T18:14:00Z","sentAt":"2025-11-22T18:14:05Z"}`, `"2025-11-22T18:14:00Z"`, `"2025-11-22T18:14:05.000Z"`, `"2026-11-22T18:14:03.615Z"`},
		"historical_import":   {`{"timestamp":"2012-12-02T00:30:08.276Z"}`, `"2012-12-02T00:30:08.276Z"`, none, `"2012-12-02T00:30:08.276Z"`},
		"nothing_sent":        {`{}`, none, none, at},
		"only_sent_at":        {`{"sentAt":"2026-11-22T18:14:00Z"}`, `"2026-11-22T18:14:00Z"`, `"2026-11-22T18:14:00.000Z"`, at},
		"nanoseconds":         {`{"timestamp":"2026-11-22T18:14:08.580123456Z","sentAt":"2026-11-22T18:14:08.583123456Z"}`, `"2026-11-22T18:14:08.580123456Z"`, `"2026-11-22T18:14:08.583Z"`, `"2026-11-22T18:14:08.612Z"`},
		"python_zone":         {`{"timestamp":"2026-11-22T19:14:08.580123+01:00","sentAt":"2026-11-22T18:14:08.583123+00:00"}`, `"2026-11-22T19:14:08.580123+01:00"`, `"2026-11-22T18:14:08.583Z"`, `"2026-11-22T18:14:08.612Z"`},
		"sent_in_a_zone":      {`{"sentAt":"2026-11-22T19:14:00.5+01:00"}`, `"2026-11-22T19:14:00.5+01:00"`, `"2026-11-22T18:14:00.500Z"`, at},
		"sent_in_seconds":     {`{"timestamp":1700000000,"sentAt":1700000001}`, `1700000000`, `"2023-11-14T22:13:21.000Z"`, `"2026-11-22T18:14:07.615Z"`},
		"not_padded":          {`{"timestamp":"2015-2-02T00:30:08.276Z"}`, `"2015-2-02T00:30:08.276Z"`, none, `"2015-02-02T00:30:08.276Z"`},
		"rudder_original":     {`{"originalTimestamp":"2026-11-22T18:14:08.580Z","sentAt":"2026-11-22T18:14:08.583Z"}`, `"2026-11-22T18:14:08.580Z"`, `"2026-11-22T18:14:08.583Z"`, `"2026-11-22T18:14:08.612Z"`},
		"timestamp_wins":      {`{"originalTimestamp":"2001-01-01T00:00:00Z","timestamp":"2026-11-22T18:14:00Z"}`, `"2026-11-22T18:14:00Z"`, none, `"2026-11-22T18:14:00.000Z"`},
		"garbage_is_kept":     {`{"timestamp":"yesterday","sentAt":"now"}`, `"yesterday"`, `"now"`, at},
		"garbage_alone":       {`{"sentAt":"now"}`, none, `"now"`, at},
		"object_is_kept":      {`{"timestamp":{"a":[1]}}`, `{"a":[1]}`, none, at},
		"null_is_absent":      {`{"timestamp":null,"sentAt":null}`, none, none, at},
		"unix_seconds":        {`{"timestamp":1700000000}`, `1700000000`, none, `"2023-11-14T22:13:20.000Z"`},
		"unix_milliseconds":   {`{"timestamp":1700000000123}`, `1700000000123`, none, `"2023-11-14T22:13:20.123Z"`},
		"seconds_as_text":     {`{"timestamp":"1700000000"}`, `"1700000000"`, none, `"2023-11-14T22:13:20.000Z"`},
		"clock_never_set":     {`{"timestamp":120,"sentAt":125}`, `120`, `"1970-01-01T00:02:05.000Z"`, `"2026-11-22T18:14:03.615Z"`},
		"date_of_digits":      {`{"timestamp":"20261122"}`, `"20261122"`, none, at},
		"time_of_digits":      {`{"sentAt":"20261122181408"}`, none, `"20261122181408"`, at},
		"absurd_year":         {`{"timestamp":"0001-01-01T00:00:00Z","sentAt":"9999-01-01T00:00:00Z"}`, `"0001-01-01T00:00:00Z"`, `"9999-01-01T00:00:00.000Z"`, at},
		"the_year_10000":      {`{"sentAt":"9999-12-31T23:59:59-01:00"}`, none, `"9999-12-31T23:59:59-01:00"`, at},
		"server_fields_faked": {`{"receivedAt":"x","timestamp":"2026-11-22T18:14:00Z"}`, `"2026-11-22T18:14:00Z"`, none, `"2026-11-22T18:14:00.000Z"`},
	} {
		t.Run(hazard, func(t *testing.T) {
			got := line(t, Track, c.body)
			require.Equal(t, c.original, get(t, got, "originalTimestamp"))
			require.Equal(t, c.sent, get(t, got, "sentAt"))
			require.Equal(t, c.timestamp, get(t, got, "timestamp"))
			require.Equal(t, at, get(t, got, "receivedAt"))
			require.Equal(t, 1, strings.Count(got, `"timestamp":`))
		})
	}
}

func TestBatchSentAt(t *testing.T) {
	got := lines(t, Batch, `{"batch":[{"timestamp":"2026-11-22T18:00:00Z"},{"timestamp":"2026-11-22T18:00:00Z","sentAt":"2026-11-22T18:00:03Z"}],"sentAt":"2026-11-22T18:00:01Z"}`, stamp())
	require.Equal(t, `"2026-11-22T18:14:07.615Z"`, get(t, got[0], "timestamp"))
	require.Equal(t, `"2026-11-22T18:00:01.000Z"`, get(t, got[0], "sentAt"))
	require.Equal(t, `"2026-11-22T18:14:05.615Z"`, get(t, got[1], "timestamp"))

	// What is not a time is not repeated in every event.
	got = lines(t, Batch, `{"batch":[{}],"sentAt":"`+strings.Repeat("x", 1000)+`"}`, stamp())
	require.Less(t, len(got[0]), 500)
}

func TestBatchContextIsMerged(t *testing.T) {
	for hazard, c := range map[string]struct{ item, batch, want string }{
		"absent":            {``, `"context":{"library":{"name":"go"}}`, `"context":{"library":{"name":"go"}}`},
		"null":              {`"context":null`, `"context":{"a":1}`, `"context":{` + unknown + `,"a":1}`},
		"both":              {`"context":{"z":1}`, `"context":{"a":1}`, `"context":{` + unknown + `,"a":1,"z":1}`},
		"item_wins":         {`"context":{"a":{"own":1}}`, `"context":{"a":{"batch":1}}`, `"context":{` + unknown + `,"a":{"own":1}}`},
		"empty_item":        {`"context":{}`, `"context":{"a":1}`, `"context":{` + unknown + `,"a":1}`},
		"empty_batch":       {`"context":{"z":1}`, `"context":{}`, `"context":{` + unknown + `,"z":1}`},
		"no_object_item":    {`"context":"c"`, `"context":{"a":1}`, `"context":"c"`},
		"no_object_batch":   {`"context":{"z":1}`, `"context":[1]`, `"context":{` + unknown + `,"z":1}`},
		"batch_repeats":     {`"context":{"z":1}`, `"context":{"a":1,"a":2}`, `"context":{` + unknown + `,"a":2,"z":1}`},
		"bytes_kept":        {`"context":{"z":{"y":1,"b":[1.0]}}`, `"context":{"k":{"y":9007199254740993,"b":"\u2028"}}`, `"context":{` + unknown + `,"k":{"y":9007199254740993,"b":"\u2028"},"z":{"y":1,"b":[1.0]}}`},
		"integrations":      {`"integrations":{"All":false}`, `"integrations":{"All":true,"X":{"k":1}}`, `"integrations":{"X":{"k":1},"All":false}`},
		"integrations_only": {``, `"integrations":{"All":false}`, `"integrations":{"All":false}`},
	} {
		t.Run(hazard, func(t *testing.T) {
			require.Contains(t, line(t, Batch, `{"batch":[{`+c.item+`}],`+c.batch+`}`), c.want+`,`)
			require.Contains(t, line(t, Batch, `{`+c.batch+`,"batch":[{`+c.item+`}]}`), c.want+`,`)
		})
	}
	t.Run("events_do_not_affect_each_other", func(t *testing.T) {
		got := lines(t, Batch, `{"context":{"a":1,"b":2},"batch":[{"context":{"a":3}},{"context":{"b":4}},{}]}`, stamp())
		require.Equal(t, `{`+unknown+`,"b":2,"a":3}`, get(t, got[0], "context"))
		require.Equal(t, `{`+unknown+`,"a":1,"b":4}`, get(t, got[1], "context"))
		require.Equal(t, `{`+unknown+`,"a":1,"b":2}`, get(t, got[2], "context"))
	})
}

func TestMessageID(t *testing.T) {
	const made = `"00000000-0000-4000-8000-000000000000"`
	for hazard, c := range map[string]struct{ value, want string }{
		"string": {`"m-1"`, `"m-1"`}, "escaped": {`"\u006d"`, `"\u006d"`}, "number": {`12`, `12`},
		"empty": {`""`, made}, "null": {`null`, made}, "object": {`{"a":1}`, made}, "bool": {`true`, made},
	} {
		t.Run(hazard, func(t *testing.T) {
			require.Equal(t, c.want, get(t, line(t, Track, `{"messageId":`+c.value+`}`), "messageId"))
		})
	}
	require.Equal(t, made, get(t, line(t, Track, `{}`), "messageId"))
	got := line(t, Track, `{"messageId":"a","x":1,"messageId":"b"}`)
	require.Equal(t, 1, strings.Count(got, `"messageId"`), "messageId members in the line")
	require.Equal(t, `"b"`, get(t, got, "messageId"))
	var r Request
	require.NoError(t, r.Parse(Track, []byte(`{}`)))
	one, _ := r.AppendLine(nil, 0, &Stamp{ReceivedAt: received})
	two, _ := r.AppendLine(nil, 0, &Stamp{ReceivedAt: received})
	require.NotEqual(t, get(t, string(one), "messageId"), get(t, string(two), "messageId"))
}

func TestTypeChannelAndAPIFields(t *testing.T) {
	require.Equal(t, `"track"`, get(t, line(t, Track, `{"type":"identify"}`), "type"), "type although the path names another")
	require.Equal(t, `"track"`, get(t, line(t, Batch, `{"batch":[{"type":"track"}]}`), "type"))
	require.Equal(t, `"Custom"`, get(t, line(t, Batch, `{"batch":[{"type":"Custom"}]}`), "type"), "type of an unknown call")
	require.Empty(t, get(t, line(t, Batch, `{"batch":[{"event":"e"}]}`), "type"), "type of an event without one")

	got := line(t, Track, `{"version":9,"projectId":"other","receivedAt":"x"}`)
	require.Equal(t, `2`, get(t, got, "version"))
	require.Equal(t, `"qv5iYYMxd94DahFpRzm58y"`, get(t, got, "projectId"))

	for hazard, c := range map[string]struct {
		body, channel string
		browser       bool
	}{
		"plain":          {`{}`, `"server"`, false},
		"own_client":     {`{"channel":"client"}`, `"client"`, false},
		"own_server":     {`{"channel":"server"}`, `"server"`, true},
		"android_sdk":    {`{"channel":"mobile","context":{"library":{"name":"analytics-android"}}}`, `"server"`, false},
		"own_null":       {`{"channel":null}`, `"server"`, false},
		"from_a_page":    {`{}`, `"client"`, true},
		"browser_sdk":    {`{"context":{"library":{"version":"1","name":"analytics.js"}}}`, `"client"`, false},
		"analytics_next": {`{"context":{"library":{"name":"@segment/analytics-next"}}}`, `"client"`, false},
		"mobile_sdk":     {`{"context":{"library":{"name":"analytics-ios"}}}`, `"server"`, false},
		"app_in_a_page":  {`{"context":{"library":{"name":"analytics-react-native"}}}`, `"client"`, true},
		"server_sdk":     {`{"context":{"library":{"name":"analytics-python"}}}`, `"server"`, false},
	} {
		t.Run(hazard, func(t *testing.T) {
			st := stamp()
			st.Browser = c.browser
			require.Equal(t, c.channel, get(t, lines(t, Track, c.body, st)[0], "channel"))
		})
	}
	got = line(t, Batch, `{"batch":[{}],"context":{"library":{"name":"analytics.js"}}}`)
	require.Equal(t, `"client"`, get(t, got, "channel"), "channel by the batch's library")
}

func TestContextIP(t *testing.T) {
	for hazard, c := range map[string]struct {
		body, ip string
		browser  bool
		want     string
	}{
		"server_event":      {`{"context":{"a":1}}`, "203.0.113.7", false, `{` + unknown + `,"a":1}`},
		"page":              {`{"context":{"a":1}}`, "203.0.113.7", true, `{` + unknown + `,"a":1,"ip":"203.0.113.7"}`},
		"page_no_context":   {`{}`, "203.0.113.7", true, `{` + unknown + `,"ip":"203.0.113.7"}`},
		"app":               {`{"context":{"library":{"name":"analytics-swift"}}}`, "203.0.113.7", false, `{"library":{"name":"analytics-swift"},"ip":"203.0.113.7"}`},
		"app_with_channel":  {`{"channel":"mobile","context":{"a":1}}`, "203.0.113.7", false, `{` + unknown + `,"a":1,"ip":"203.0.113.7"}`},
		"server_by_channel": {`{"channel":"server","context":{"a":1}}`, "203.0.113.7", true, `{` + unknown + `,"a":1}`},
		"direct":            {`{"context":{"direct":true}}`, "203.0.113.7", false, `{` + unknown + `,"direct":true,"ip":"203.0.113.7"}`},
		"not_direct":        {`{"context":{"direct":false}}`, "203.0.113.7", false, `{` + unknown + `,"direct":false}`},
		"own_ip":            {`{"context":{"ip":"0.0.0.0"}}`, "203.0.113.7", true, `{` + unknown + `,"ip":"0.0.0.0"}`},
		"own_null":          {`{"context":{"ip":null}}`, "203.0.113.7", true, `{` + unknown + `,"ip":null}`},
		"ipv6_not_stored":   {`{"context":{}}`, "2001:db8::1", true, `{` + unknown + `}`},
		"mapped_ipv4":       {`{"context":{}}`, "::ffff:203.0.113.7", true, `{` + unknown + `,"ip":"203.0.113.7"}`},
		"context_no_object": {`{"context":7}`, "203.0.113.7", true, `7`},
	} {
		t.Run(hazard, func(t *testing.T) {
			st := stamp()
			st.Browser, st.IP = c.browser, netip.MustParseAddr(c.ip)
			require.Equal(t, c.want, get(t, lines(t, Track, c.body, st)[0], "context"))
		})
	}
	st := stamp()
	st.UserAgent = "quote\" back\\ tab\t"
	require.Equal(t, `{`+unknown+`,"userAgent":"quote\" back\\ tab\u0009"}`, get(t, lines(t, Track, `{}`, st)[0], "context"))
}

func TestRejectedBodiesAndEvents(t *testing.T) {
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	big := `"` + strings.Repeat("x", MaxEvent) + `"`
	many := `{"batch":[` + strings.Repeat(`{},`, MaxEvents) + `{}]}`
	for hazard, c := range map[string]struct {
		kind   Kind
		body   string
		reason Reason
		event  int
	}{
		"empty":             {Track, ``, ErrMalformed, -1},
		"spaces":            {Track, ` `, ErrMalformed, -1},
		"null":              {Track, `null`, ErrMalformed, -1},
		"array":             {Track, `[{}]`, ErrMalformed, -1},
		"string":            {Track, `"x"`, ErrMalformed, -1},
		"cut_off":           {Track, `{"a":"b`, ErrMalformed, -1},
		"trailing":          {Track, `{} {}`, ErrMalformed, -1},
		"trailing_nul":      {Track, "{}\x00", ErrMalformed, -1},
		"trailing_comma":    {Track, `{"a":1,}`, ErrMalformed, -1},
		"missing_colon":     {Track, `{"a" 1}`, ErrMalformed, -1},
		"missing_value":     {Track, `{"a":}`, ErrMalformed, -1},
		"bare_key":          {Track, `{a:1}`, ErrMalformed, -1},
		"single_quotes":     {Track, `{'a':1}`, ErrMalformed, -1},
		"nan":               {Track, `{"a":NaN}`, ErrMalformed, -1},
		"leading_zero":      {Track, `{"a":01}`, ErrMalformed, -1},
		"plus":              {Track, `{"a":+1}`, ErrMalformed, -1},
		"bare_dot":          {Track, `{"a":1.}`, ErrMalformed, -1},
		"bare_exponent":     {Track, `{"a":1e}`, ErrMalformed, -1},
		"bare_minus":        {Track, `{"a":-}`, ErrMalformed, -1},
		"bad_literal":       {Track, `{"a":tru}`, ErrMalformed, -1},
		"bad_escape":        {Track, `{"a":"\x"}`, ErrMalformed, -1},
		"short_escape":      {Track, `{"a":"\u12"}`, ErrMalformed, -1},
		"bare_newline":      {Track, "{\"a\":\"x\ny\"}", ErrMalformed, -1},
		"bare_control":      {Track, "{\"a\":\"12345678\x01\"}", ErrMalformed, -1},
		"mismatched":        {Track, `{"a":[1}`, ErrMalformed, -1},
		"form":              {Track, `a=1&b=2`, ErrMalformed, -1},
		"too_deep":          {Track, `{"a":` + deep + `}`, ErrTooDeep, -1},
		"event_too_large":   {Track, `{"a":` + big + `}`, ErrEventTooLarge, -1},
		"id_too_long":       {Track, `{"messageId":"` + strings.Repeat("m", MaxMessageID+1) + `"}`, ErrMessageID, -1},
		"number_too_long":   {Track, `{"messageId":` + strings.Repeat("7", MaxMessageID+1) + `}`, ErrMessageID, -1},
		"no_batch":          {Batch, `{"type":"track"}`, ErrMalformed, -1},
		"batch_null":        {Batch, `{"batch":null}`, ErrMalformed, -1},
		"batch_object":      {Batch, `{"batch":{}}`, ErrMalformed, -1},
		"batch_twice":       {Batch, `{"batch":[{}],"b\u0061tch":[{}]}`, ErrMalformed, -1},
		"item_null":         {Batch, `{"batch":[{},null]}`, ErrNotObject, 1},
		"item_array":        {Batch, `{"batch":[{},{},[]]}`, ErrNotObject, 2},
		"item_broken":       {Batch, `{"batch":[{},{"a":}]}`, ErrMalformed, 1},
		"item_too_large":    {Batch, `{"batch":[{},{"a":` + big + `}]}`, ErrEventTooLarge, 1},
		"item_id_too_long":  {Batch, `{"batch":[{},{"messageId":"` + strings.Repeat("m", MaxMessageID+1) + `"}]}`, ErrMessageID, 1},
		"too_many":          {Batch, many, ErrTooManyEvents, -1},
		"body_too_large":    {Batch, `{"batch":[{}],"a":"` + strings.Repeat("x", MaxBody) + `"}`, ErrBatchTooLarge, -1},
		"context_too_large": {Batch, `{"batch":[{}],"context":{"a":` + big + `}}`, ErrEventTooLarge, -1},
		"context_amplified": {Batch, `{"context":{"a":"` + strings.Repeat("x", 30<<10) + `"},"batch":[` + strings.Repeat(`{},`, MaxEvents-1) + `{}]}`, ErrBatchTooLarge, -1},
	} {
		t.Run(hazard, func(t *testing.T) {
			var r Request
			err := r.Parse(c.kind, []byte(c.body))
			if err == nil { // the error is about one event
				at := max(c.event, 0)
				err = r.Fault(at)
				require.Equal(t, at > 0, r.AllFaulty() == nil, "whether all events are faulty")
				for i := range at {
					require.Nil(t, r.Fault(i))
				}
			}
			var refused *Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, c.reason, refused.Reason, "%v", err)
			require.Equal(t, c.event, refused.Event, "%v", err)
		})
	}
}

func TestLimitsAreInclusive(t *testing.T) {
	pad := MaxEvent - len(`{"a":""}`)
	line(t, Track, ` { "a" : "`+strings.Repeat("x", pad)+`" } `)
	line(t, Track, `{"messageId":"`+strings.Repeat("m", MaxMessageID)+`"}`)
	line(t, Track, `{"messageId":`+strings.Repeat("7", MaxMessageID)+`}`)
	line(t, Track, `{"messageId":["`+strings.Repeat("m", MaxMessageID)+`"]}`) // identifies nothing and is replaced
	line(t, Track, `{"a":`+strings.Repeat("[", MaxDepth-1)+strings.Repeat("]", MaxDepth-1)+`}`)
	require.Len(t, lines(t, Batch, `{"batch":[`+strings.Repeat(`{},`, MaxEvents-1)+`{}]}`, stamp()), MaxEvents)
	require.Empty(t, lines(t, Batch, `{"batch":[]}`, stamp()))
}

func TestRequestIsReusable(t *testing.T) {
	var r Request
	require.NoError(t, r.Parse(Batch, []byte(`{"batch":[{},{}],"context":{"a":1},"integrations":{"b":1},"sentAt":"2026-11-22T18:00:00Z","writeKey":"k"}`)))
	require.Error(t, r.Parse(Batch, []byte(`{"batch":[{},`)))
	require.NoError(t, r.Parse(Track, []byte(`{"event":"e"}`)))
	require.Equal(t, 1, r.Len())
	require.Empty(t, r.WriteKey())
	got, _ := r.AppendLine(nil, 0, stamp())
	require.Equal(t, line(t, Track, `{"event":"e"}`), string(got))
}

func TestLineMessageID(t *testing.T) {
	made := stamp().NewID()
	for raw, want := range map[string]string{
		`"messageId":"abc"`:             "abc",
		`"messageId":"a\u0062\"c"`:      `ab"c`,
		`"messageId":12.50`:             "12.50",
		`"messageId":""`:                made,
		`"messageId":null`:              made,
		`"event":"none"`:                made,
		`"messageId":1,"messageId":"2"`: "2",
	} {
		t.Run(raw, func(t *testing.T) {
			var r Request
			require.NoError(t, r.Parse(Track, []byte(`{`+raw+`,"event":"x"}`)))
			_, line := r.AppendLine(nil, 0, stamp())
			require.Equal(t, want, string(line.MessageID))
		})
	}
}

func TestLineTypeAndClient(t *testing.T) {
	var r Request
	require.NoError(t, r.Parse(Batch, []byte(`{"batch":[{"type":"track"},{"type":"i"},{"type":"batch"},{},{"type":"page","channel":"client"}]}`)))
	var got []Line
	for i := range r.Len() {
		_, l := r.AppendLine(nil, i, stamp())
		l.MessageID = nil
		got = append(got, l)
	}
	require.Equal(t, []Line{{Type: "track"}, {Type: "other"}, {Type: "other"}, {Type: "other"}, {Type: "page", Client: true}}, got)
}
