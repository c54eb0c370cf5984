package collector

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// TestUndeliverableEventsAnswered200BecomeDeadLetters: everything that was answered 200 is in the
// events topic or in the dead letters.
func TestUndeliverableEventsAnswered200BecomeDeadLetters(t *testing.T) {
	large := `{"userId":"u","event":"large","a":"` + strings.Repeat("x", 32<<10) + `"}`
	long := strings.Repeat("m", 101)
	pixel := func(body string) string {
		return "GET /v1/pixel/track?data=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(body)))
	}
	const good = `{"userId":"u","type":"track","event":"good"}`
	for hazard, c := range map[string]struct {
		path, body string
		lenient    bool
		taken      int
		dead       string // the reasons, in order
	}{
		"one_of_a_batch_is_too_large":    {"/v1/batch", `{"batch":[` + good + `,` + large + `,` + good + `]}`, false, 2, "event_too_large"},
		"one_has_a_long_message_id":      {"/v1/batch", `{"batch":[` + good + `,{"userId":"u","messageId":"` + long + `"}]}`, false, 1, "message_id_too_long"},
		"a_long_id_in_few_characters":    {"/v1/batch", `{"batch":[` + good + `,{"userId":"u","messageId":"` + strings.Repeat("木", 100) + `"}]}`, false, 2, ""},
		"some_are_not_objects":           {"/v1/batch", `{"batch":[null,` + good + `,"text",[{"writeKey":1}],7]}`, false, 1, "not_a_json_object not_a_json_object not_a_json_object not_a_json_object"},
		"lenient_about_users_not_limits": {"/v1/batch", `{"batch":[{},` + large + `]}`, true, 1, "event_too_large"},
		"no_user":                        {"/v1/track", `{"event":"e"}`, false, 0, "no_user"},
		"null_user":                      {"/v1/track", `{"event":"e","userId":null,"anonymousId":""}`, false, 0, "no_user"},
		"no_user_but_lenient":            {"/v1/track", `{"event":"e"}`, true, 1, ""},
		"anonymous_user":                 {"/v1/track", `{"event":"e","anonymousId":"a","userId":null}`, false, 1, ""},
		"user_is_a_number":               {"/v1/track", `{"event":"e","userId":17}`, false, 1, ""},
		"user_in_the_context_only":       {"/v1/track", `{"event":"e","context":{"userId":"u"}}`, false, 0, "no_user"},
		"track_without_event":            {"/v1/track", `{"userId":"u"}`, false, 0, "no_event_name"},
		"track_of_a_batch_without_event": {"/v1/batch", `{"batch":[{"userId":"u","type":"track"},{"userId":"u","type":"page"}]}`, false, 1, "no_event_name"},
		"page_needs_no_event":            {"/v1/page", `{"userId":"u"}`, false, 1, ""},
		"all_of_a_batch_are_incomplete":  {"/v1/batch", `{"batch":[{"type":"track","event":"e"},{"userId":"u","type":"track"}]}`, false, 0, "no_user no_event_name"},
		"pixel_that_is_too_large":        {pixel(`{"writeKey":"wk_web",` + large[1:]), ``, false, 0, "event_too_large"},
		"pixel_without_user":             {"GET /v1/pixel/track?writeKey=wk_web&event=e", ``, false, 0, "no_user"},
		"pixel":                          {"GET /v1/pixel/track?writeKey=wk_web&event=e&anonymousId=a", ``, false, 1, ""},
	} {
		t.Run(hazard, func(t *testing.T) {
			b := newFixture(t, Config{Validate: !c.lenient})
			path, get := strings.CutPrefix(c.path, "GET ")
			r := post(path, text(c.body))
			if get {
				r.Method = http.MethodGet
				r.Header.Del("Authorization")
			}
			w := b.do(r)
			require.Equal(t, http.StatusOK, w.Code)
			require.Len(t, b.topic.take(), c.taken)
			reasons := []string{}
			for _, d := range b.dead.take() {
				reason, _ := d.Header("sealift-reason")
				reasons = append(reasons, string(reason))
				source, _ := d.Header("sealift-source")
				require.Equal(t, "web", string(source))
				require.Equal(t, "web", string(d.Key))
				received, _ := d.Header("sealift-received")
				require.NotEmpty(t, received)
				require.NotContains(t, string(d.Value), "wk_web")
				_, isLine := d.Header("sealift-line")
				require.Equal(t, string(reason) != "not_a_json_object", isLine)
				if isLine {
					line := gjson.ParseBytes(d.Value)
					require.Equal(t, "web", line.Get("projectId").String(), "a whole line")
					id, ok := d.Header("sealift-message")
					require.Equal(t, string(reason) != "message_id_too_long", ok)
					require.True(t, !ok || line.Get("messageId").String() == string(id))
				}
			}
			require.Equal(t, c.dead, strings.Join(reasons, " "))
			if !get { // the answer lists each of them
				require.True(t, gjson.GetBytes(w.Body.Bytes(), "success").Bool())
				listed, events := make([]string, 3000), gjson.GetBytes(w.Body.Bytes(), "dead_letters")
				require.Equal(t, len(reasons) > 0, events.Exists())
				events.ForEach(func(reason, at gjson.Result) bool {
					for _, i := range at.Array() {
						listed[i.Int()] = reason.String()
					}
					return true
				})
				require.Equal(t, reasons, strings.Fields(strings.Join(listed, " ")))
			}
			require.InDelta(t, len(reasons), b.metric(t, "sealift_collector_dead_letters_total"), 0)
			require.Zero(t, b.inFlight.used.Load())
		})
	}
}

// TestDeadLettersAreAcknowledgedLikeEvents: a 200 means that both topics have acknowledged.
func TestDeadLettersAreAcknowledgedLikeEvents(t *testing.T) {
	for hazard, c := range map[string]struct{ topic, dead error }{
		"dead_letters_away": {nil, errAway},
		"events_away":       {errAway, nil},
	} {
		t.Run(hazard, func(t *testing.T) {
			b := newFixture(t, Config{Validate: true})
			b.topic.fail(c.topic)
			b.dead.fail(c.dead)
			mixed := func() int {
				return b.do(post("/v1/batch", text(`{"batch":[{"type":"track","userId":"u","event":"e"},{"type":"track","userId":"u"}]}`))).Code
			}
			require.Equal(t, http.StatusServiceUnavailable, mixed())
			require.Empty(t, b.topic.take(), "events were written before their dead letters")
			b.topic.fail(nil)
			b.dead.fail(nil)
			b.dead.take()
			require.Equal(t, http.StatusOK, mixed())
			require.Len(t, b.topic.take(), 1)
			require.Len(t, b.dead.take(), 1)
		})
	}
}

// TestLimits holds the limits of the Tracking API, one per row: the answer at the limit and one
// beyond it, and where the events are then.
func TestLimits(t *testing.T) {
	fill := func(head, tail string, size int) string {
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	const event, promised, batch, id, bomb = 32 << 10, 500 << 10, 520 << 10, 100, 10 << 20
	sized := func(n int) string { return fill(`{"userId":"u","event":"e","a":"`, `"}`, n) }
	for hazard, c := range map[string]struct {
		path, body string
		status     int
		code       string
		taken      int
	}{
		"event_of_32_KiB":       {"/v1/track", sized(event), 200, "", 1},
		"event_one_byte_larger": {"/v1/track", sized(event + 1), 400, "event_too_large", 0},
		"batch_of_520_KiB":      {"/v1/batch", fill(`{"batch":[{"userId":"u"}],"a":"`, `"}`, batch), 200, "", 1},
		// As analytics-react-native fills a batch; 2,500 smaller events would be fewer bytes.
		"500_KiB_of_events_alone": {"/v1/batch", `{"batch":[` + strings.Repeat(sized(205)+",", promised/205-1) + sized(205) + `],"sentAt":"2026-11-22T18:14:08.583Z","writeKey":"wk_web"}`, 200, "", promised / 205},
		"batch_one_byte_larger":   {"/v1/batch", fill(`{"batch":[{"userId":"u"}],"a":"`, `"}`, batch+1), 413, "batch_too_large", 0},
		"inflated_one_byte_more":  {"/v1/batch", zipped(t, fill(`{"batch":[{"userId":"u"}],"a":"`, `"}`, batch+1)).String(), 413, "batch_too_large", 0},
		"bomb_of_ratio_1000":      {"/v1/batch", zipped(t, strings.Repeat(" ", bomb)).String(), 413, "batch_too_large", 0},
		"2500_events":             {"/v1/batch", `{"batch":[` + strings.Repeat(`{"userId":1},`, 2499) + `{"userId":1}]}`, 200, "", 2500},
		"2501_events":             {"/v1/batch", `{"batch":[` + strings.Repeat(`{"userId":1},`, 2500) + `{"userId":1}]}`, 413, "too_many_events", 0},
		"message_id_of_100":       {"/v1/page", `{"userId":"u","messageId":"` + strings.Repeat("m", id) + `"}`, 200, "", 1},
		"message_id_of_101":       {"/v1/page", `{"userId":"u","messageId":"` + strings.Repeat("m", id+1) + `"}`, 400, "message_id_too_long", 0},
		"depth_of_500":            {"/v1/page", `{"userId":"u","a":` + strings.Repeat("[", 499) + strings.Repeat("]", 499) + `}`, 200, "", 1},
		"depth_of_501":            {"/v1/page", `{"userId":"u","a":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`, 400, "too_deep", 0},
		"context_repeated_16_MiB": {"/v1/batch", `{"context":{"a":"` + strings.Repeat("x", 30<<10) + `"},"batch":[` + strings.Repeat(`{"userId":1},`, 999) + `{}]}`, 413, "batch_too_large", 0},
	} {
		t.Run(hazard, func(t *testing.T) {
			b := newFixture(t, Config{Validate: true})
			w := b.do(post(c.path, text(c.body)))
			require.Equal(t, c.status, w.Code, w.Body)
			require.Equal(t, c.code, gjson.Get(w.Body.String(), "code").String())
			require.Equal(t, c.taken, len(b.topic.take())) //nolint:testifylint // Len prints all of them
			require.Empty(t, b.dead.take())
			require.LessOrEqual(t, b.inFlight.used.Load(), int64(0), fmt.Sprint(hazard, ": bytes are still held"))
		})
	}
}

func TestManyHeadersAreRefused(t *testing.T) {
	b := newFixture(t, Config{})
	for n, want := range map[int]int{20: http.StatusOK, 101: http.StatusRequestHeaderFieldsTooLarge} {
		r := post("/v1/page", text(`{"userId":"u"}`))
		for i := range n - len(r.Header) {
			r.Header.Set(fmt.Sprint("X-", i), "")
		}
		answer := b.do(r)
		require.Equal(t, want, answer.Code)
		require.Equal(t, want != http.StatusOK, answer.Header().Get("Connection") == "close")
	}
	r := post("/v1/page", text(`{"userId":"u"}`))
	r.Header["A"] = make([]string, 100)
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, b.do(r).Code, "of one name")
	require.Len(t, b.topic.take(), 1)
}
