package assumerole

import (
	"container/list"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
)

// entry is the cache's line of a request.
type entry struct {
	request Request
	creds   objstore.Credentials // zero: none yet
	refresh time.Time            // from here on they are asked for again
	flight  *flight              // nil: none under way
	place   *list.Element
}

// flight is one request to STS that many may wait for.
type flight struct {
	done  chan struct{} // closed when creds and err are set
	creds objstore.Credentials
	err   error
	gone  bool // the leader's context ended: its failure is nobody else's
}

// usable tells whether the credentials will do while STS is away.
func (e *entry) usable() bool {
	return e.creds.AccessKeyID != "" && time.Until(e.creds.Expires) > lastResort
}

// join returns credentials, or the flight to wait for, or to lead: then with the
// old credentials, if they will do.
func (r *Roles) join(request Request) (objstore.Credentials, *flight, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[request]
	if e == nil {
		e = &entry{request: request}
		e.place = r.used.PushFront(e)
		r.entries[request] = e
		r.evict()
	} else {
		r.used.MoveToFront(e.place)
	}
	switch {
	case e.creds.AccessKeyID != "" && time.Now().Before(e.refresh):
		return e.creds, nil, false
	case e.flight != nil && e.usable():
		return e.creds, nil, false // one who waits is enough
	case e.flight != nil:
		return objstore.Credentials{}, e.flight, false
	}
	e.flight = &flight{done: make(chan struct{})}
	if e.usable() {
		return e.creds, e.flight, true
	}
	return objstore.Credentials{}, e.flight, true
}

// keep caches what a flight brought.
func (r *Roles) keep(request Request, f *flight, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Forget was called meanwhile: what was asked for before it is not kept.
	if e := r.entries[request]; e != nil && e.flight == f {
		early := min(earlyAtMost, f.creds.Expires.Sub(asked)/4)
		e.creds, e.refresh = f.creds, f.creds.Expires.Add(-early)
	}
}

// fallback returns the old credentials if STS is merely away.
func (r *Roles) fallback(request Request, err error) (objstore.Credentials, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[request]
	if e == nil || e.creds.AccessKeyID == "" {
		return objstore.Credentials{}, err
	}
	if isAway(err) && e.usable() {
		e.refresh = time.Now().Add(min(askAgain, time.Until(e.creds.Expires)-lastResort))
		return e.creds, nil
	}
	if !isAway(err) {
		e.creds = objstore.Credentials{}
	}
	return objstore.Credentials{}, err
}

// land ends a flight.
func (r *Roles) land(request Request, f *flight) {
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

// Forget drops what is cached for the request, as when a store answered that
// the credentials are not accepted, or the destination was changed.
func (r *Roles) Forget(request Request) {
	request = r.complete(request)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[request]; e != nil {
		r.drop(e)
	}
}

// evict drops the longest unused beyond the bound, but none under way. The
// caller holds mu.
func (r *Roles) evict() {
	for place := r.used.Back(); place != nil && len(r.entries) > r.cfg.MaxCached; {
		e := place.Value.(*entry) //nolint:forcetypeassert // the list holds nothing else
		place = place.Prev()
		if e.flight == nil && place != nil { // never the one that was just added
			r.drop(e)
		}
	}
}

// drop removes an entry. The caller holds mu.
func (r *Roles) drop(e *entry) {
	delete(r.entries, e.request)
	r.used.Remove(e.place)
}
