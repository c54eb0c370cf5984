package assumerole

import (
	"container/list"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
)

// entry is the cache entry of a request.
type entry struct {
	request Request
	creds   objstore.Credentials // zero: none yet
	refresh time.Time            // from then on new ones are requested
	flight  *flight              // nil: none in progress
	element *list.Element
}

// flight is one request to STS, whose result many may wait for.
type flight struct {
	done      chan struct{} // closed when creds and err are set
	creds     objstore.Credentials
	err       error
	abandoned bool // the leader's context ended, which says nothing about the role to those who wait
}

// usable reports whether the credentials can be used while STS is unavailable.
func (e *entry) usable() bool {
	return e.creds.AccessKeyID != "" && time.Until(e.creds.Expires) > minUsable
}

// join returns credentials, or a flight to wait for, or a flight that the caller must lead (true).
// In the last case the credentials are the old ones, if they are still usable.
func (r *Roles) join(request Request) (objstore.Credentials, *flight, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[request]
	if e == nil {
		e = &entry{request: request}
		e.element = r.used.PushFront(e)
		r.entries[request] = e
		r.evict()
	} else {
		r.used.MoveToFront(e.element)
	}
	switch {
	case e.creds.AccessKeyID != "" && time.Now().Before(e.refresh):
		return e.creds, nil, false
	case e.flight != nil && e.usable():
		return e.creds, nil, false // it is enough that one caller waits
	case e.flight != nil:
		return objstore.Credentials{}, e.flight, false
	}
	e.flight = &flight{done: make(chan struct{})}
	if e.usable() {
		return e.creds, e.flight, true
	}
	return objstore.Credentials{}, e.flight, true
}

// cacheResult caches the result of a flight.
func (r *Roles) cacheResult(request Request, f *flight, askedAt time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// If Forget was called in the meantime, a result requested before it is not kept.
	if e := r.entries[request]; e != nil && e.flight == f {
		early := min(maxRefreshAhead, f.creds.Expires.Sub(askedAt)/4)
		e.creds, e.refresh = f.creds, f.creds.Expires.Add(-early)
	}
}

// fallback returns the old credentials if STS is merely unavailable.
func (r *Roles) fallback(request Request, err error) (objstore.Credentials, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[request]
	if e == nil || e.creds.AccessKeyID == "" {
		return objstore.Credentials{}, err
	}
	if isUnavailable(err) && e.usable() {
		e.refresh = time.Now().Add(min(retryAfter, time.Until(e.creds.Expires)-minUsable))
		return e.creds, nil
	}
	if !isUnavailable(err) {
		e.creds = objstore.Credentials{}
	}
	return objstore.Credentials{}, err
}

// endFlight ends a flight.
func (r *Roles) endFlight(request Request, f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[request]; e != nil && e.flight == f {
		e.flight = nil
		if e.creds.AccessKeyID == "" {
			r.drop(e) // failures are not cached
		}
	}
	close(f.done)
}

// Forget drops what is cached for the request, for instance when a store has refused the
// credentials or the destination was changed.
func (r *Roles) Forget(request Request) {
	request = r.withDefaults(request)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[request]; e != nil {
		r.drop(e)
	}
}

// evict drops the least recently used entries beyond MaxCached, except those with a flight in
// progress. The caller holds mu.
func (r *Roles) evict() {
	for place := r.used.Back(); place != nil && len(r.entries) > r.cfg.MaxCached; {
		e := place.Value.(*entry) //nolint:forcetypeassert // the list holds nothing else
		place = place.Prev()
		if e.flight == nil && place != nil { // never the entry that was just added
			r.drop(e)
		}
	}
}

// drop removes an entry. The caller holds mu.
func (r *Roles) drop(e *entry) {
	delete(r.entries, e.request)
	r.used.Remove(e.element)
}
