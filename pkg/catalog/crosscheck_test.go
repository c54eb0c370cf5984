package catalog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dest returns a destination for source src.
func dest(name, bucket, src string) Destination {
	return Destination{Name: name, Bucket: bucket, Sources: []string{src}}
}

func workspace(id, src string, ds ...Destination) Workspace {
	return Workspace{ID: id, Sources: []Source{{ID: src}}, Destinations: ds}
}

func at443(d Destination, endpoint string) Destination {
	d.Endpoint = endpoint
	return d
}

func virtualHosted(d Destination, endpoint string) Destination {
	d.Endpoint, d.PathStyle = endpoint, new(bool)
	return d
}

func inRegion(d Destination, region, role string) Destination {
	d.Region, d.RoleARN = region, role
	return d
}

func disabled(d Destination) Destination {
	d.Enabled = new(bool)
	return d
}

func TestCollisions(t *testing.T) {
	key := func(id, src string, s Source) Workspace {
		s.ID = src
		return Workspace{ID: id, Sources: []Source{s}}
	}
	for name, c := range map[string]struct {
		in   []Workspace
		want string // "": accepted
	}{
		"workspace_twice":      {[]Workspace{{ID: wsA}, {ID: wsA}}, "another document has the same id"},
		"source_over_two":      {[]Workspace{workspace(wsA, "web"), workspace(wsB, "web")}, `workspace ` + wsB + `: source "web": id: it is taken by a source of workspace ` + wsA},
		"source_twice_in_one":  {[]Workspace{{ID: wsA, Sources: []Source{{ID: "web"}, {ID: "web"}}}}, "it is taken"},
		"key_over_two":         {[]Workspace{key(wsA, "a", Source{WriteKeys: []string{"k"}}), key(wsB, "b", Source{WriteKeys: []string{"k"}})}, `source "a" has the same write key`},
		"key_and_its_hash":     {[]Workspace{key(wsA, "a", Source{WriteKeys: []string{"k"}}), key(wsB, "b", Source{WriteKeyHashes: []string{HashKey("k")}})}, "write_key_hashes[0]"},
		"key_twice_in_one":     {[]Workspace{key(wsA, "a", Source{WriteKeys: []string{"k", "k"}})}, ""},
		"name_twice":           {[]Workspace{workspace(wsA, "web", dest("d", "one", "web"), dest("d", "two", "web"))}, "another destination of the workspace has it"},
		"same_place_foreign":   {[]Workspace{workspace(wsA, "a", dest("d", "logs/p", "a")), workspace(wsB, "b", dest("e", "logs/p/", "b"))}, `destination "e": bucket: destination "d" of workspace ` + wsA + ` delivers to the same place; use another`},
		"same_bucket_foreign":  {[]Workspace{workspace(wsA, "a", dest("d", "logs/p", "a")), workspace(wsB, "b", dest("e", "logs/q", "b"))}, ""},
		"disabled_foreign":     {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a")), workspace(wsB, "b", disabled(dest("e", "logs", "b")))}, "delivers to the same place"},
		"name_is_a_prefix":     {[]Workspace{workspace(wsA, "a", dest("d", "logs/p", "a")), workspace(wsB, "b", dest("e", "logs/pq", "b"))}, ""},
		"below_but_apart":      {[]Workspace{workspace(wsA, "a", dest("d", "logs/p", "a")), workspace(wsB, "b", dest("e", "logs/p/q", "b"))}, ""},
		"inside_foreign":       {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a")), workspace(wsB, "b", dest("e", "logs/segment-logs/x", "b"))}, "it overlaps with the place of"},
		"around_foreign":       {[]Workspace{workspace(wsA, "a", dest("d", "logs/segment-logs/x", "a")), workspace(wsB, "b", dest("e", "logs", "b"))}, `workspace ` + wsB + `: destination "e": bucket: it overlaps`},
		"other_server":         {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a")), workspace(wsB, "b", at443(dest("e", "logs", "b"), "https://minio"))}, ""},
		"same_server_by_port":  {[]Workspace{workspace(wsA, "a", at443(dest("d", "logs", "a"), "https://minio:443")), workspace(wsB, "b", at443(dest("e", "logs", "b"), "https://MINIO/"))}, "delivers to the same place"},
		"name_before_the_host": {[]Workspace{workspace(wsA, "a", at443(dest("d", "acme/logs", "a"), "https://store.example")), workspace(wsB, "b", at443(dest("e", "logs", "b"), "https://acme.store.example"))}, "delivers to the same place"},
		"dots_before_the_host": {[]Workspace{workspace(wsA, "a", at443(dest("d", "acme.logs", "a"), "https://store.example")), workspace(wsB, "b", virtualHosted(dest("e", "acme", "b"), "https://logs.store.example"))}, "delivers to the same place"},
		"dots_in_the_bucket":   {[]Workspace{workspace(wsA, "a", virtualHosted(dest("d", "acme", "a"), "https://logs.store.example")), workspace(wsB, "b", at443(dest("e", "acme.logs", "b"), "https://store.example"))}, "delivers to the same place"},
		"reported_once":        {[]Workspace{workspace(wsA, "a", at443(dest("d", "logs", "a"), "https://s3.store.example")), workspace(wsB, "b", at443(dest("e", "logs", "b"), "https://s3.store.example"))}, "delivers to the same place"},
		"beside_it_in_a_view":  {[]Workspace{workspace(wsA, "a", at443(dest("d", "acme/logs", "a"), "https://store.example")), workspace(wsB, "b", at443(dest("e", "other", "b"), "https://acme.store.example"))}, ""},
		"vpc_endpoint_is_aws":  {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a")), workspace(wsB, "b", at443(dest("e", "logs", "b"), "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com"))}, "delivers to the same place"},
		"sovereign_is_apart":   {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a")), workspace(wsB, "b", at443(dest("e", "logs", "b"), "https://bucket.vpce-1.s3.eusc-de-east-1.vpce.amazonaws.eu"))}, ""},
		"sovereign_by_region":  {[]Workspace{workspace(wsA, "a", inRegion(dest("d", "logs", "a"), "eusc-de-east-1", "")), workspace(wsB, "b", at443(dest("e", "logs", "b"), "https://s3.eusc-de-east-1.amazonaws.eu"))}, "delivers to the same place"},
		"sovereign_by_role":    {[]Workspace{workspace(wsA, "a", inRegion(dest("d", "logs", "a"), "", "arn:aws-us-gov:iam::123456789012:role/r")), workspace(wsB, "b", inRegion(dest("e", "logs", "b"), "us-gov-east-1", ""))}, "delivers to the same place"},
		"partition_by_region":  {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a")), workspace(wsB, "b", inRegion(at443(dest("e", "logs", "b"), "https://s3.eu-west-1.amazonaws.com"), "cn-north-1", ""))}, "delivers to the same place"},
		"partition_by_role":    {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a")), workspace(wsB, "b", inRegion(at443(dest("e", "logs", "b"), "https://s3.eu-west-1.amazonaws.com"), "", "arn:aws-cn:iam::123456789012:role/r"))}, "delivers to the same place"},
		"partition_by_bucket":  {[]Workspace{workspace(wsA, "a", dest("d", "us-gov-west-1/logs", "a")), workspace(wsB, "b", at443(dest("e", "logs", "b"), "https://us-gov-west-1.s3.eu-west-1.amazonaws.com"))}, "is not the host of S3 for all buckets"},
		"same_source_twice":    {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a"), dest("e", "logs", "a"))}, `source "a" is delivered to the same place by destination "d"`},
		"one_is_disabled":      {[]Workspace{workspace(wsA, "a", disabled(dest("d", "logs", "a")), dest("e", "logs", "a"))}, ""},
		"other_sources":        {[]Workspace{{ID: wsA, Sources: []Source{{ID: "a"}, {ID: "b"}}, Destinations: []Destination{dest("d", "logs", "a"), dest("e", "logs", "b")}}}, ""},
		"migration_test_place": {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a"), dest("e", "logs/segment-logs/sealift-check", "a"))}, ""},
		"folder_of_a_source":   {[]Workspace{workspace(wsA, "a", dest("d", "logs", "a"), dest("e", "logs/segment-logs/a", "a"))}, `it overlaps with the folder of source "a"`},
		"percent_in_a_source":  {[]Workspace{workspace(wsA, "%s%d", dest("d", "logs", "%s%d"), dest("e", "logs", "%s%d"))}, `source "%s%d" is delivered to the same place`},
	} {
		t.Run(name, func(t *testing.T) {
			err := Operator{}.Validate(c.in)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrInvalid)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, 1, strings.Count(err.Error(), c.want))
		})
	}
}

// Destinations without an endpoint are on the operator's own store, so they can collide with those
// that name that store, however it is written.
func TestCollisionsOnTheOperatorsStore(t *testing.T) {
	for name, c := range map[string]struct{ own, endpoint, want string }{
		"named":               {"https://store.example.com", "https://store.example.com", "delivers to the same place"},
		"dot_port_and_case":   {"https://store.example.com", "https://STORE.example.com.:0443/", "delivers to the same place"},
		"address":             {"http://10.0.0.1:9000", "http://[::ffff:10.0.0.1]:9000", "delivers to the same place"},
		"not_ascii":           {"https://store.example.com", "https://ｓtore.example.com", "its host is not ASCII"},
		"another":             {"https://store.example.com", "https://other.example.com", ""},
		"aws":                 {"https://store.example.com", "https://s3.eu-west-1.amazonaws.com", ""},
		"aws_of_the_operator": {"https://bucket.vpce-1.s3.us-gov-west-1.vpce.amazonaws.com", "https://s3.us-gov-east-1.amazonaws.com", "delivers to the same place"},
	} {
		t.Run(name, func(t *testing.T) {
			own := Operator{Endpoint: c.own}
			ws := []Workspace{workspace(wsA, "a", dest("d", "logs", "a")), workspace(wsB, "b", at443(dest("e", "logs", "b"), c.endpoint))}
			err := own.Validate(ws)
			live := own.NewLive()
			for _, w := range ws {
				require.NoError(t, live.Apply(w.ID, Encode(w)))
			}
			second, _ := live.Publish().Destination(wsB + "/e")
			if c.want == "" {
				require.NoError(t, err)
				require.Empty(t, second.RefusalReason)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.Contains(t, second.RefusalReason, c.want)
		})
	}
}

// No destination may use the staging bucket, because everything in it is taken for Sealift's own.
func TestStagingBucketIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		own     Operator
		d       Destination
		refused bool
	}{
		"at_aws":              {Operator{Staging: Bucket{Name: "logs", Region: "eu-west-1"}}, dest("d", "logs/ledger", "a"), true},
		"in_a_vpc":            {Operator{Staging: Bucket{Name: "logs", Endpoint: "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com"}}, dest("d", "logs", "a"), true},
		"of_a_partition":      {Operator{Staging: Bucket{Name: "logs", Region: "us-gov-west-1"}}, dest("d", "logs", "a"), false},
		"on_our_store":        {Operator{Endpoint: "https://store:9000", Staging: Bucket{Name: "logs", Endpoint: "https://store:9000/"}}, dest("d", "logs", "a"), true},
		"on_our_store_named":  {Operator{Staging: Bucket{Name: "logs", Endpoint: "https://store"}}, at443(dest("d", "logs", "a"), "https://store:443"), true},
		"destinations_at_aws": {Operator{Staging: Bucket{Name: "logs", Endpoint: "https://store:9000"}}, dest("d", "logs", "a"), false},
		"seen_in_a_folder":    {Operator{Staging: Bucket{Name: "staging", Endpoint: "https://acme.store.example"}}, at443(dest("d", "acme/staging", "a"), "https://store.example"), true},
		"seen_beside_it":      {Operator{Staging: Bucket{Name: "staging", Endpoint: "https://acme.store.example"}}, at443(dest("d", "acme/other", "a"), "https://store.example"), false},
		"on_its_store":        {Operator{Staging: Bucket{Name: "staging", Endpoint: "https://acme.store.example"}}, at443(dest("d", "logs", "a"), "https://acme.store.example"), false},
		"another":             {Operator{Staging: Bucket{Name: "staging"}}, dest("d", "logs", "a"), false},
		"not_known":           {Operator{}, dest("d", "logs", "a"), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := workspace(wsA, "a", c.d)
			live := c.own.NewLive()
			require.NoError(t, live.Apply(wsA, Encode(w)))
			target, _ := live.Publish().Destination(wsA + "/d")
			err := c.own.Validate([]Workspace{w})
			if !c.refused {
				require.NoError(t, err)
				require.Empty(t, target.RefusalReason)
				return
			}
			require.ErrorContains(t, err, "it is the operator's staging bucket; use another bucket")
			require.Contains(t, target.RefusalReason, "staging bucket")
		})
	}
}

func TestCollisionsOfManyFindEachPair(t *testing.T) {
	var ws []Workspace
	for i := range 50 {
		id := fmt.Sprintf("ws_%016d", i)
		src := fmt.Sprint("s", i)
		ws = append(ws, workspace(id, src, dest("d", fmt.Sprintf("logs/%d", i%25), src), dest("own", fmt.Sprintf("logs-%d", i), src)))
	}
	var e *Error
	require.ErrorAs(t, Operator{}.Validate(ws), &e)
	require.Len(t, e.Problems, 25)
	for i, p := range e.Problems {
		require.Equal(t, ws[25+i].ID, p.Workspace, "the later one has the problem")
	}
}

// The pass over sorted places must refuse exactly the destinations that comparing all pairs would
// refuse: those that collide with an earlier one.
func TestCollisionsAreThoseOfAllPairs(t *testing.T) {
	collide := func(ws []Workspace, a, b place) bool {
		da, db := ws[a.doc].Destinations[a.index], ws[b.doc].Destinations[b.index]
		outer, inner := da, db
		if len(b.root) < len(a.root) {
			a, b, outer, inner = b, a, db, da
		}
		rest, in := strings.CutPrefix(b.root, a.root)
		switch {
		case !in:
			return false
		case a.doc != b.doc:
			return true
		case rest == "":
			return enabled(da) && enabled(db) && slices.ContainsFunc(inner.Sources, func(s string) bool { return slices.Contains(outer.Sources, s) })
		}
		source, _, _ := strings.Cut(rest, "/")
		return slices.Contains(outer.Sources, source)
	}
	r := rand.New(rand.NewPCG(1, 2))
	prefixes := []string{"", "/p", "/p", "/segment-logs/s00", "/segment-logs/s01/x", "/segment-logs/sealift-check", "/p/segment-logs/s00", "/p/segment-logs/s10", "/segment-logs/s10/segment-logs/s11"}
	refused := 0
	for range 2000 {
		var ws []Workspace
		for doc := range 1 + r.IntN(3) {
			w := Workspace{ID: fmt.Sprintf("ws_%016d", doc)}
			for i := range 2 {
				w.Sources = append(w.Sources, Source{ID: fmt.Sprintf("s%d%d", doc, i)})
			}
			for i := range r.IntN(5) {
				d := dest(fmt.Sprint("d", i), "logs"+prefixes[r.IntN(len(prefixes))], w.Sources[r.IntN(2)].ID)
				if r.IntN(4) == 0 {
					d.Sources = []string{w.Sources[0].ID, w.Sources[1].ID}
				}
				if r.IntN(4) == 0 {
					d = disabled(d)
				}
				w.Destinations = append(w.Destinations, d)
			}
			ws = append(ws, w)
		}
		var all []place
		for doc, w := range ws {
			for i, d := range w.Destinations {
				_, prefix := SplitBucket(d.Bucket)
				all = append(all, place{doc: doc, index: i, root: strings.TrimPrefix(prefix+"/segment-logs/", "/")})
			}
		}
		want, got := map[string]bool{}, map[string]bool{}
		for i, late := range all {
			for _, early := range all[:i] {
				if collide(ws, early, late) {
					want[fmt.Sprintf("%d/destinations/%d/bucket", late.doc, late.index)] = true
				}
			}
		}
		for _, p := range checkAcrossWorkspaces(ws, Operator{}) {
			got[fmt.Sprintf("%d/%s", p.doc, p.path)] = true
		}
		require.Equal(t, want, got, "%+v", ws)
		refused += len(got)
	}
	require.Greater(t, refused, 1000, "the documents collide")
}
