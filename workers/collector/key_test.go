package collector

import (
	"bytes"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
)

// TestNoWriteKeyIsHeld: catalog, limits, metrics and log of a collector hold
// hashes of keys, whatever requests brought: a dump of them tells no key, and
// what is looked up is a hash, whose comparison tells nothing of a key.
func TestNoWriteKeyIsHeld(t *testing.T) {
	b := newBench(t, Config{Limit: Limit{PerKey: 1000, PerWorkspace: 1000}})
	require.Equal(t, http.StatusOK, b.do(post("/v1/track", text(`{}`))).Code)
	r := post("/v1/batch", text(`{"writeKey":"wk_server","batch":[{"writeKey":"wk_server2"}]}`))
	r.Header.Del("Authorization")
	require.Equal(t, http.StatusOK, b.do(r).Code)
	r = post("/v1/track", text(`{"writeKey":"wk_nobody"}`))
	r.Header.Del("Authorization")
	require.Equal(t, http.StatusUnauthorized, b.do(r).Code)

	var all bytes.Buffer
	held(&all, reflect.ValueOf(b.Collector), map[uintptr]bool{})
	held(&all, reflect.ValueOf(b.live.Snapshot()), map[uintptr]bool{}) // behind an unsafe.Pointer
	require.Contains(t, all.String(), catalog.HashKey("wk_web"), "it is not looked at")
	require.Contains(t, all.String(), "ws_0123456789abcdefghij", "limits are not looked at")
	require.NotContains(t, strings.ReplaceAll(all.String(), "unknown_write_key", ""), "wk_")
}

// held writes all text that is reached from v, with pointers, maps and
// interfaces, but not what waits in channels: those are parsers, which keep a
// body until the next one.
func held(to *bytes.Buffer, v reflect.Value, seen map[uintptr]bool) {
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
		held(to, v.Elem(), seen)
	case reflect.Struct:
		for i := range v.NumField() {
			held(to, v.Field(i), seen)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			held(to, it.Key(), seen)
			held(to, it.Value(), seen)
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
			held(to, v.Index(i), seen)
		}
	}
}
