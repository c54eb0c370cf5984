package collector

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/sealift/sealift/pkg/event"
)

const maxSourceID = 64 // bytes, see pkg/catalog

// authorization returns the write key in a Basic Authorization header, with
// or without the colon that should follow it; "" if there is none. A Bearer
// token says nothing here: the key is then in the body.
func authorization(r *http.Request) string {
	scheme, encoded, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return ""
	}
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(encoded), "="))
	if err != nil {
		return ""
	}
	key, _, _ := strings.Cut(string(decoded), ":")
	return key
}

// sourceIDs is the source of each event of a request.
type sourceIDs struct {
	all  string   // of all events, unless each is set
	each []string // by event
	// charges are the events that the request takes of rate limits. nil if
	// there are no limits.
	charges map[charge]int
}

func (s sourceIDs) at(i int) string {
	if s.each != nil {
		return s.each[i]
	}
	return s.all
}

// sources finds the source that each event is for: that of the first key that
// the catalog knows among the header's, the body's and the event's own. SDKs
// use each of these alone.
func (c *Collector) sources(request *event.Request, headerKey string) (sourceIDs, *refusal) {
	snapshot := c.deps.Catalog.Snapshot()
	tried := false
	var ids sourceIDs
	if !c.limits.off() {
		ids.charges = map[charge]int{}
	}
	find := func(key string, events int) string {
		if key == "" {
			return ""
		}
		tried = true
		source, ok := snapshot.SourceByWriteKey(key)
		if ok && ids.charges != nil {
			ids.charges[charge{key, source.Workspace}] += events
		}
		return source.ID
	}
	if ids.all = find(headerKey, request.Len()); ids.all != "" {
		return ids, nil
	}
	if ids.all = find(request.WriteKey(), request.Len()); ids.all != "" {
		return ids, nil
	}
	if request.Len() == 0 {
		return ids, keyRefused(tried)
	}
	ids.each = make([]string, request.Len())
	for i := range ids.each {
		if ids.each[i] = find(request.EventWriteKey(i), 1); ids.each[i] == "" {
			return ids, keyRefused(tried)
		}
	}
	return ids, nil
}

// keyRefused has no WWW-Authenticate: a browser would ask a page's visitor
// for a password.
func keyRefused(tried bool) *refusal {
	if tried {
		return refuse(http.StatusUnauthorized, "unknown_write_key", "no source has this write key: compare it with the one that you were given, or ask for a new one")
	}
	return refuse(http.StatusUnauthorized, "no_write_key", `the write key is missing: send it as the user name of Basic authentication, or as "writeKey" in the body`)
}
