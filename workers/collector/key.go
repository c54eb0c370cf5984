package collector

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/sealift/sealift/pkg/event"
)

const maxSourceID = 64 // bytes, see pkg/catalog

// authorization returns the write key in a Basic Authorization header, with or without the colon
// that should follow it; "" if there is none. Bearer tokens are ignored: the key is then in the
// body.
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

// sourceIDs holds the source of each event of a request.
type sourceIDs struct {
	all  string   // the source of all events, unless each is set
	each []string // by event
	// faults says, by event, why it has no source of its own; nil: all have one.
	faults []*event.Error
	// charges are the numbers of events that the request takes from rate limits; nil: there are no
	// limits.
	charges map[charge]int
}

func (s sourceIDs) at(i int) string {
	if s.each != nil {
		return s.each[i]
	}
	return s.all
}

// fault returns why event i has no source of its own; nil if it has one.
func (s sourceIDs) fault(i int) *event.Error {
	if s.faults != nil {
		return s.faults[i]
	}
	return nil
}

// resolveSources finds each event's source: that of the first key that the catalog knows among the
// header's, the body's and the event's own. Each of these is what some SDK uses. An event of a
// batch without a known key is at fault, and is filed under the first source of the batch, which is
// its sender's.
func (c *Collector) resolveSources(request *event.Request, headerKey string) (sourceIDs, *refusal) {
	snapshot := c.deps.Catalog.Snapshot()
	var ids sourceIDs
	if !c.limits.disabled() {
		ids.charges = map[charge]int{}
	}
	tried := false
	find := func(key string, events int) (source string, ch charge) {
		if key == "" {
			return "", ch
		}
		tried = true
		found, ok := snapshot.SourceByWriteKey(key)
		ch = charge{key, found.Workspace}
		if ok && ids.charges != nil {
			ids.charges[ch] += events
		}
		return found.ID, ch
	}
	if ids.all, _ = find(headerKey, request.Len()); ids.all != "" {
		return ids, nil
	}
	if ids.all, _ = find(request.WriteKey(), request.Len()); ids.all != "" {
		return ids, nil
	}
	ids.each = make([]string, request.Len())
	sender := "" // the first source
	var senderCharge charge
	for i := range ids.each {
		key := request.EventWriteKey(i)
		source, ch := find(key, 1)
		switch {
		case source == "" && ids.faults == nil:
			ids.faults = make([]*event.Error, request.Len())
			fallthrough
		case source == "":
			ids.faults[i] = missingSource(i, key)
		case sender == "":
			sender, senderCharge = source, ch
		}
		ids.each[i] = source
	}
	if sender == "" && tried && len(snapshot.Workspaces()) == 0 {
		// The catalog's topic may be misspelt, or was lost. An SDK would drop what is answered 401.
		return ids, retryLater(http.StatusServiceUnavailable, "starting", "the catalog has no workspace yet: try again")
	}
	if sender == "" {
		return ids, noKnownKey(tried)
	}
	for i, fault := range ids.faults {
		if fault == nil {
			continue
		}
		ids.each[i] = sender
		if ids.charges != nil {
			ids.charges[senderCharge]++
		}
	}
	return ids, nil
}

func missingSource(i int, key string) *event.Error {
	if key == "" {
		return &event.Error{Reason: event.ErrNoKey, Event: i, Detail: `the event has no "writeKey", nor has the batch`}
	}
	return &event.Error{Reason: event.ErrUnknownKey, Event: i, Detail: "no source has the event's write key"}
}

// noKnownKey sends no WWW-Authenticate: a browser would ask a page's visitor for a password. Not
// every SDK drops what is answered 401: some mobile ones send it again forever.
func noKnownKey(tried bool) *refusal {
	if tried {
		return newRefusal(http.StatusUnauthorized, "unknown_write_key", "no source has this write key: compare it with the one that you were given, or ask for a new one")
	}
	return newRefusal(http.StatusUnauthorized, "no_write_key", `the write key is missing: send it as the user name of Basic authentication, or as "writeKey" in the body`)
}
