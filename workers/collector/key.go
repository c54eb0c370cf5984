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
	find := func(key string) string {
		if key == "" {
			return ""
		}
		tried = true
		source, _ := snapshot.SourceByWriteKey(key)
		return source.ID
	}
	if id := find(headerKey); id != "" {
		return sourceIDs{all: id}, nil
	}
	if id := find(request.WriteKey()); id != "" || request.Len() == 0 {
		if id == "" {
			return sourceIDs{}, keyRefused(tried)
		}
		return sourceIDs{all: id}, nil
	}
	ids := sourceIDs{each: make([]string, request.Len())}
	for i := range ids.each {
		if ids.each[i] = find(request.EventWriteKey(i)); ids.each[i] == "" {
			return sourceIDs{}, keyRefused(tried)
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
