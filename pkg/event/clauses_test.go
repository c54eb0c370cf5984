package event

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// added has the members that the API adds to the line of an empty call. A clause lists only those
// that it is about.
var added = map[string]string{
	"messageId":    `"00000000-0000-4000-8000-000000000000"`,
	"channel":      `"server"`,
	"context":      `{` + unknown + `}`,
	"integrations": `{}`,
	"receivedAt":   `"2026-11-22T18:14:08.615Z"`,
	"timestamp":    `"2026-11-22T18:14:08.615Z"`,
	"projectId":    `"qv5iYYMxd94DahFpRzm58y"`,
	"version":      `2`,
}

// TestEveryClauseOfTheStoredLine checks the promise of the package, clause by clause, on whole
// lines: all of their bytes, except the order at the top level. The tests named after single
// clauses cover their hazards.
func TestEveryClauseOfTheStoredLine(t *testing.T) {
	type members = map[string]string // members of the line in addition to those in added, or replacing them
	for clause, c := range map[string]struct {
		kind   Kind
		body   string
		change func(*Stamp)
		want   members
	}{
		"the_full_call_as_received": {Track, `{"userId":"u","event":"E","properties":{"a":[1,{"b":null}]},"_metadata":{"bundled":[]},"unknown":{"z":1,"a":2},"groupId":7}`, nil,
			members{"type": `"track"`, "userId": `"u"`, "event": `"E"`, "properties": `{"a":[1,{"b":null}]}`, "_metadata": `{"bundled":[]}`, "unknown": `{"z":1,"a":2}`, "groupId": `7`}},
		"received_at_is_the_apis": {Track, `{"receivedAt":"2001-01-01T00:00:00Z"}`, nil, members{"type": `"track"`}},
		"original_timestamp_as_the_client_wrote_it": {Track, `{"timestamp":"2026-11-22T19:14:08.5+01:00"}`, nil,
			members{"type": `"track"`, "originalTimestamp": `"2026-11-22T19:14:08.5+01:00"`, "timestamp": `"2026-11-22T18:14:08.500Z"`}},
		"sent_at_and_timestamp_corrected_for_skew": {Track, `{"timestamp":"2020-01-01T00:00:00.000Z","sentAt":"2020-01-01T00:00:01.000Z"}`, nil,
			members{"type": `"track"`, "originalTimestamp": `"2020-01-01T00:00:00.000Z"`, "sentAt": `"2020-01-01T00:00:01.000Z"`, "timestamp": `"2026-11-22T18:14:07.615Z"`}},
		"sent_at_in_utc_and_milliseconds": {Track, `{"sentAt":"2026-11-22T19:14:07.5+01:00"}`, nil,
			members{"type": `"track"`, "originalTimestamp": `"2026-11-22T19:14:07.5+01:00"`, "sentAt": `"2026-11-22T18:14:07.500Z"`}},
		"sent_at_of_the_batch": {Batch, `{"sentAt":"2020-01-01T00:00:01.000Z","batch":[{"timestamp":"2020-01-01T00:00:00.000Z"}]}`, nil,
			members{"originalTimestamp": `"2020-01-01T00:00:00.000Z"`, "sentAt": `"2020-01-01T00:00:01.000Z"`, "timestamp": `"2026-11-22T18:14:07.615Z"`}},
		"message_id_when_absent":           {Page, `{}`, nil, members{"type": `"page"`}},
		"message_id_kept":                  {Page, `{"messageId":"\u006d-1"}`, nil, members{"type": `"page"`, "messageId": `"\u006d-1"`}},
		"type_from_the_path":               {Alias, `{"type":"track"}`, nil, members{"type": `"alias"`}},
		"type_of_the_event_in_a_batch":     {Batch, `{"batch":[{"type":"screen"}]}`, nil, members{"type": `"screen"`}},
		"channel_of_a_page":                {Track, `{}`, func(s *Stamp) { s.Browser, s.IP = true, netip.Addr{} }, members{"type": `"track"`, "channel": `"client"`}},
		"channel_kept":                     {Track, `{"channel":"client"}`, func(s *Stamp) { s.IP = netip.Addr{} }, members{"type": `"track"`, "channel": `"client"`}},
		"channel_of_another_name":          {Track, `{"channel":"mobile"}`, func(s *Stamp) { s.IP = netip.Addr{} }, members{"type": `"track"`}},
		"version_and_project_are_the_apis": {Track, `{"version":"1","projectId":"forged"}`, nil, members{"type": `"track"`}},
		"context_ip_of_a_client":           {Track, `{"context":{"a":1}}`, func(s *Stamp) { s.Browser = true }, members{"type": `"track"`, "channel": `"client"`, "context": `{` + unknown + `,"a":1,"ip":"203.0.113.7"}`}},
		"context_ip_of_a_server_that_asks": {Track, `{"context":{"direct":true}}`, nil, members{"type": `"track"`, "context": `{` + unknown + `,"direct":true,"ip":"203.0.113.7"}`}},
		"no_context_ip_of_a_server":        {Track, `{"context":{"a":1}}`, nil, members{"type": `"track"`, "context": `{` + unknown + `,"a":1}`}},
		"context_ip_kept":                  {Track, `{"context":{"ip":"10.0.0.1"}}`, func(s *Stamp) { s.Browser = true }, members{"type": `"track"`, "channel": `"client"`, "context": `{` + unknown + `,"ip":"10.0.0.1"}`}},
		"context_of_the_batch_merged": {Batch, `{"context":{"library":{"name":"x"},"a":1},"batch":[{"context":{"a":2,"z":3}}]}`, nil,
			members{"context": `{"library":{"name":"x"},"a":2,"z":3}`}},
		"integrations_of_the_batch_merged": {Batch, `{"integrations":{"All":true,"B":{"k":1}},"batch":[{"integrations":{"All":false}}]}`, nil,
			members{"integrations": `{"B":{"k":1},"All":false}`}},
		"library_kept":                           {Track, `{"context":{"library":"mine"}}`, nil, members{"type": `"track"`, "context": `{"library":"mine"}`}},
		"library_in_another_spelling":            {Track, `{"context":{"libr\u0061ry":"mine"}}`, nil, members{"type": `"track"`, "context": `{` + unknown + `,"libr\u0061ry":"mine"}`}},
		"context_that_is_no_object":              {Track, `{"context":"c"}`, nil, members{"type": `"track"`, "context": `"c"`}},
		"integrations_kept":                      {Track, `{"integrations":{"All":false,"Mixpanel":true}}`, nil, members{"type": `"track"`, "integrations": `{"All":false,"Mixpanel":true}`}},
		"the_batchs_other_members_are_no_events": {Batch, `{"batch":[{}],"messageId":"of-the-batch","timestamp":"2001-01-01T00:00:00Z","sequence":3,"type":"track","userId":"u","channel":"x"}`, nil, members{}},
		"key_order_of_nested_objects":            {Track, `{"properties":{"z":1,"a":{"y":1,"b":2,"m":{}},"m":3}}`, nil, members{"type": `"track"`, "properties": `{"z":1,"a":{"y":1,"b":2,"m":{}},"m":3}`}},
		"big_integers":                           {Track, `{"properties":{"n":[9007199254740993,-9007199254740993,123456789012345678901234567890]}}`, nil, members{"type": `"track"`, "properties": `{"n":[9007199254740993,-9007199254740993,123456789012345678901234567890]}`}},
		"digits_of_floats":                       {Track, `{"properties":{"n":[1.10,-0.0,1E+2,1e-400]}}`, nil, members{"type": `"track"`, "properties": `{"n":[1.10,-0.0,1E+2,1e-400]}`}},
		"non_bmp_and_line_separators":            {Track, "{\"properties\":{\"👕\":\"𝒳\\ud83d\\udc55\",\"l\":\"\u2028\u2029\u0085\\u2028\"}}", nil, members{"type": `"track"`, "properties": "{\"👕\":\"𝒳\\ud83d\\udc55\",\"l\":\"\u2028\u2029\u0085\\u2028\"}"}},
		"write_key_of_a_call":                    {Track, `{"writeKey":"wk","wr\u0069teKey":"wk"}`, nil, members{"type": `"track"`}},
		"write_key_of_a_batch_and_an_event":      {Batch, `{"writeKey":"wk","batch":[{"writeKey":"wk"}]}`, nil, members{}},
		// Deeper, the name is the customer's: a property may have any name.
		"nested_write_key_is_data": {Batch, `{"writeKey":"wk","context":{"writeKey":"a"},"batch":[{"properties":{"writeKey":"b"},"traits":[{"writeKey":"c"}]}]}`, nil,
			members{"context": `{` + unknown + `,"writeKey":"a"}`, "properties": `{"writeKey":"b"}`, "traits": `[{"writeKey":"c"}]`}},
	} {
		t.Run(clause, func(t *testing.T) {
			st := stamp()
			if c.change != nil {
				c.change(st)
			}
			all := lines(t, c.kind, c.body, st)
			require.Len(t, all, 1)
			got := members{}
			eachMember([]byte(all[0]), func(key, value []byte) bool {
				name := strings.Trim(string(key), `"`)
				require.NotContains(t, got, name, "member occurs twice")
				got[name] = string(value)
				return true
			})
			for name, value := range added {
				if _, own := c.want[name]; !own {
					c.want[name] = value
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}
