package main

import (
	"context"
	"net/url"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/objstore"
)

// place says where a bucket is, and how it is addressed. Buckets at the same place share a client.
type place struct {
	region, endpoint           string
	pathStyle, fips, dualStack bool
	guarded                    bool
}

// maxPlaces limits how many clients are kept; beyond that, all are dropped. A catalog names more
// places only if somebody makes endpoints up.
const maxPlaces = 1000

// openBucket opens a destination's bucket with these credentials; nil means the operator's.
func (s *services) openBucket(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
	if creds == nil {
		creds = s.credentials
	}
	at := place{region: t.Region, endpoint: t.Endpoint, fips: t.FIPS, dualStack: t.DualStack}
	style := t.PathStyle
	switch own := s.cfg.Destinations.Endpoint; {
	case t.Endpoint != "":
		at.pathStyle, at.guarded = pathStyle(t.Endpoint), true
	case own != "":
		at.endpoint, at.pathStyle = own, pathStyle(own)
		style = nil // as part of the host, a bucket's name could choose among the operator's hosts
	}
	if style != nil {
		at.pathStyle = *style
	}
	return s.clientAt(at).At(t.BucketName, t.Owner, creds)
}

// clientAt returns a client for the place; its At opens any bucket there. Clients are kept because
// it would be too expensive to set one up for each file.
func (s *services) clientAt(at place) *objstore.S3 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.places[at]; known != nil {
		return known
	}
	c := objstore.S3Config{
		Region: at.region, Endpoint: at.endpoint, PathStyle: at.pathStyle, UseFIPS: at.fips, DualStack: at.dualStack,
		Credentials: s.credentials, HTTPClient: s.destinationClient,
	}
	if at.guarded {
		c.HTTPClient = s.guardedClient
	}
	if s.places == nil || len(s.places) >= maxPlaces {
		s.places = map[place]*objstore.S3{}
	}
	s.places[at] = objstore.NewS3(c)
	return s.places[at]
}

// pathStyle reports whether the bucket goes into the path of an endpoint's URLs. All servers
// support that, except AWS for its newer buckets.
func pathStyle(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return true
	}
	_, isAWS := iam.CutDomain(u.Hostname())
	return !isAWS
}
