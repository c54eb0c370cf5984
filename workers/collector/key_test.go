package collector

import (
	"bytes"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
)

// TestOnlyHashesOfWriteKeysAreHeld: catalog, limits, metrics and log of a collector hold only
// hashes of keys, so a memory dump of them reveals none, and lookups by hash reveal nothing by
// their timing.
func TestOnlyHashesOfWriteKeysAreHeld(t *testing.T) {
	b := newFixture(t, Config{Limit: Limit{PerKey: 1000, PerWorkspace: 1000}})
	require.Equal(t, http.StatusOK, b.do(post("/v1/track", text(`{}`))).Code)
	r := post("/v1/batch", text(`{"writeKey":"wk_server","batch":[{"writeKey":"wk_server2"}]}`))
	r.Header.Del("Authorization")
	require.Equal(t, http.StatusOK, b.do(r).Code)
	r = post("/v1/track", text(`{"writeKey":"wk_nobody"}`))
	r.Header.Del("Authorization")
	require.Equal(t, http.StatusUnauthorized, b.do(r).Code)

	var all bytes.Buffer
	appendStrings(&all, reflect.ValueOf(b.Collector), map[uintptr]bool{})
	appendStrings(&all, reflect.ValueOf(b.live.Snapshot()), map[uintptr]bool{}) // behind an unsafe.Pointer
	require.Contains(t, all.String(), catalog.HashKey("wk_web"), "the catalog is not searched")
	require.Contains(t, all.String(), "ws_0123456789abcdefghij", "the limits are not searched")
	require.NotContains(t, strings.ReplaceAll(all.String(), "unknown_write_key", ""), "wk_")
}

// appendStrings writes all text that is reachable from v through pointers, maps and interfaces. It
// leaves out what is in channels: those are parsers, which keep a body until the next one.
func appendStrings(to *bytes.Buffer, v reflect.Value, seen map[uintptr]bool) {
	switch v.Kind() {
	case reflect.String:
		to.WriteString(v.String() + "\n")
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if v.Kind() == reflect.Pointer {
			if seen[v.Pointer()] {
				return
			}
			seen[v.Pointer()] = true
		}
		appendStrings(to, v.Elem(), seen)
	case reflect.Struct:
		for i := range v.NumField() {
			appendStrings(to, v.Field(i), seen)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			appendStrings(to, it.Key(), seen)
			appendStrings(to, it.Value(), seen)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			to.Write(v.Bytes())
			to.WriteString("\n")
			return
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			appendStrings(to, v.Index(i), seen)
		}
	}
}

// TestBatchEventWithoutASource: in a batch whose events have their own keys, an event without a
// known key does not affect the others. It becomes a dead letter of the first known source.
func TestBatchEventWithoutASource(t *testing.T) {
	for hazard, c := range map[string]struct {
		batch  string
		taken  string // sources and messageIds
		dead   string // reasons
		of     string // the source that the dead letters are filed under
		header string
	}{
		"no_key":          {`{"writeKey":"wk_web","messageId":"1"},{"messageId":"2"},{"writeKey":"wk_server","messageId":"3"}`, "web/1 server/3", "no_write_key", "web", ""},
		"first":           {`{"messageId":"1"},{"writeKey":"wk_server","messageId":"2"}`, "server/2", "no_write_key", "server", ""},
		"unknown_key":     {`{"writeKey":"wk_sEcReT"},{"writeKey":"wk_server","messageId":"2"}`, "server/2", "unknown_write_key", "server", ""},
		"no_object":       {`null,{"writeKey":"wk_server","messageId":"2"},7`, "server/2", "not_a_json_object not_a_json_object", "server", ""},
		"too_large":       {`{"a":"` + strings.Repeat("x", 33<<10) + `"},{"writeKey":"wk_server","messageId":"2"}`, "server/2", "event_too_large", "server", ""},
		"all_kinds":       {`{},"",{"writeKey":1},{"writeKey":"wk_web","messageId":"4"}`, "web/4", "no_write_key not_a_json_object no_write_key", "web", ""},
		"key_of_a_header": {`{},{"writeKey":"wk_nobody"}`, "web/ web/", "", "", "wk_web"},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newFixture(t, Config{Limit: Limit{PerKey: 100}})
				r := post("/v1/batch", text(`{"batch":[`+c.batch+`]}`))
				r.Header.Del("Authorization")
				if c.header != "" {
					r.SetBasicAuth(c.header, "")
				}
				require.Equal(t, http.StatusOK, b.do(r).Code)
				var taken, dead []string
				for _, r := range b.topic.take() {
					id, _ := r.Header("sealift-message")
					if len(id) > 1 {
						id = nil // generated
					}
					taken = append(taken, string(r.Key)+"/"+string(id))
				}
				for _, r := range b.dead.take() {
					require.Equal(t, c.of, string(r.Key))
					require.NotContains(t, string(r.Value), "wk_")
					reason, _ := r.Header("sealift-reason")
					dead = append(dead, string(reason))
				}
				require.Equal(t, c.taken, strings.Join(taken, " "))
				require.Equal(t, c.dead, strings.Join(dead, " "))
				require.Zero(t, b.inFlight.used.Load())
				charged := 0.0
				for _, bucket := range b.limits.keys.by {
					charged += 2500 - bucket.TokensAt(time.Now())
				}
				require.InDelta(t, len(taken)+len(dead), charged, 0.001, "rejected events are not charged like others")
			})
		})
	}
}
