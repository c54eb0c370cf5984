package collector

import (
	"encoding/json"
	"net/http"
	"strings"
)

// settings answers what browser and mobile SDKs request when they start. Without
// integrations["Segment.io"].apiKey analytics.js sends no key at all.
//
// apiHost makes the SDK send events here and not to Segment, even if only the CDN's host was
// changed; SDKs put https in front of it. Without PublicHost it is the host that the request was
// sent to, if that was over https. Anyone can forge that, so the answer is then private. An answer
// without apiHost is private as well: a shared cache could serve it to https clients, who would
// then send to Segment.
func (c *Collector) settings(w http.ResponseWriter, r *http.Request, key string) int {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return c.countAndRefuse(w, wrongMethod(w, http.MethodGet))
	}
	if !c.loaded() {
		return c.countAndRefuse(w, retryLater(http.StatusServiceUnavailable, "starting", "the collector is starting: try again"))
	}
	if _, ok := c.deps.Catalog.Snapshot().SourceByWriteKey(key); !ok {
		return c.countAndRefuse(w, newRefusal(http.StatusNotFound, "unknown_write_key", "no source has this write key"))
	}
	segment := map[string]any{
		"apiKey":                key,
		"unbundledIntegrations": []string{},
		"addBundledMetadata":    true,
		"maybeBundledConfigIds": map[string]any{},
		"bundledConfigIds":      []string{},
		"unbundledConfigIds":    []string{},
		"versionSettings":       map[string]any{"version": "4.4.7", "componentTypes": []string{"browser"}},
	}
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",") // of several proxies, the sender's comes first
	keep := "private"
	switch {
	case c.cfg.PublicHost != "":
		segment["apiHost"] = c.cfg.PublicHost + "/v1"
		keep = "public"
	case r.TLS != nil || strings.EqualFold(strings.TrimSpace(proto), "https"):
		segment["apiHost"] = requestedHost(r, c.cfg.TrustedProxies) + "/v1"
	}
	allowed := map[string]any{"__default": map[string]any{"enabled": true, "integrations": map[string]any{}}}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", keep+", max-age=120")
	w.WriteHeader(http.StatusOK)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"integrations":         map[string]any{"Segment.io": segment},
		"plan":                 map[string]any{"track": allowed, "identify": allowed, "group": allowed},
		"edgeFunction":         map[string]any{},
		"analyticsNextEnabled": true,
		"middlewareSettings":   map[string]any{},
		"enabledMiddleware":    map[string]any{},
		"metrics":              map[string]any{"sampleRate": 0},
		"remotePlugins":        []any{},
	})
	return http.StatusOK
}
