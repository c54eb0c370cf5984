package catalog

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/spelling"
)

// Validate checks each workspace, and all of them together. It returns an *Error with every
// problem: the workspace, the source or destination, the field, what is wrong, and the fix.
func (o Operator) Validate(workspaces []Workspace) error {
	var problems []Problem
	for doc, w := range workspaces {
		c := checker{doc: doc, w: w}
		c.checkWorkspace()
		problems = append(problems, c.problems...)
	}
	return asError(append(problems, checkAcrossWorkspaces(workspaces, o)...))
}

// checker collects the problems of one workspace.
type checker struct {
	doc       int
	w         Workspace
	sources   map[string]bool // ids
	hintsLeft int             // how many more times a similar source is searched for
	problems  []Problem
}

// maxHints limits the cost of a workspace with 10,000 sources and 10,000 destinations that name
// none of them: each hint compares with all sources.
const maxHints = 5

func (c *checker) add(object, path, field, what, fix string) {
	id := c.w.ID
	if id == "" {
		id = "#" + strconv.Itoa(c.doc+1)
	}
	c.problems = append(c.problems, Problem{
		Workspace: id, Object: object, Field: field, What: what, Fix: fix, doc: c.doc, path: path,
	})
}

func (c *checker) checkWorkspace() {
	switch {
	case c.w.ID == "":
		c.add("", "workspace", "workspace", "it is missing", "generate one with: sealift catalog new")
	case !workspaceID.MatchString(c.w.ID):
		c.add("", "workspace", "workspace", "it is not a workspace id", "generate one with: sealift catalog new; an id that a customer chose would let one customer act for another")
	}
	c.sources, c.hintsLeft = map[string]bool{}, maxHints
	for i, s := range c.w.Sources {
		c.checkSource(i, s)
		c.sources[s.ID] = true
	}
	names := map[string]bool{}
	for i, d := range c.w.Destinations {
		c.checkDestination(i, d)
		if names[d.Name] {
			c.add(destinationObject(i, d), destinationPath(i, "name"), "name", "another destination of the workspace has it", "give each its own name")
		}
		names[d.Name] = true
	}
}

func sourceObject(i int, s Source) string {
	if s.ID == "" {
		return "source #" + strconv.Itoa(i+1)
	}
	return "source " + strconv.Quote(s.ID)
}

func destinationObject(i int, d Destination) string {
	if d.Name == "" {
		return "destination #" + strconv.Itoa(i+1)
	}
	return "destination " + strconv.Quote(d.Name)
}

func sourcePath(i int, field string) string      { return fmt.Sprintf("sources/%d/%s", i, field) }
func destinationPath(i int, field string) string { return fmt.Sprintf("destinations/%d/%s", i, field) }

func (c *checker) checkSource(i int, s Source) {
	bad := func(field, what, fix string) { c.add(sourceObject(i, s), sourcePath(i, field), field, what, fix) }
	if what, fix := checkSourceID(s.ID); what != "" {
		bad("id", what, fix)
	}
	if len(s.Name) > 128 || strings.ContainsFunc(s.Name, unicode.IsControl) {
		bad("name", "it is too long or holds control characters", "use up to 128 bytes of text")
	}
	for k, key := range s.WriteKeys {
		if !writeKey.MatchString(key) {
			at := fmt.Sprintf("write_keys/%d", k)
			c.add(sourceObject(i, s), sourcePath(i, at), fmt.Sprintf("write_keys[%d]", k), "it is not a write key", "use up to 128 of A-Z a-z 0-9 . _ -, like the ones of: sealift catalog new")
		}
	}
	if s.Spread < 0 || s.Spread > MaxSpread {
		bad("spread", "it is not a number of partitions", fmt.Sprintf("use 0 to %d; as many as the events topic has, or more, are all of them", MaxSpread))
	}
	for k, hash := range s.WriteKeyHashes {
		if !keyHash.MatchString(hash) {
			at := fmt.Sprintf("write_key_hashes/%d", k)
			c.add(sourceObject(i, s), sourcePath(i, at), fmt.Sprintf("write_key_hashes[%d]", k), "it is not 64 lower-case hex digits", "put keys themselves below write_keys")
		}
	}
}

// checkSourceID returns what is wrong with a source id and the fix, or "".
func checkSourceID(id string) (what, fix string) {
	const rule = "use 1 to 64 of A-Z a-z 0-9 _ -"
	switch {
	case id == "":
		return "it is missing", rule + ", or generate one with: sealift catalog new"
	case id == ReservedSourceID:
		return "it is the folder of what `sealift destinations check --write` and `migrate` try", "choose another"
	case sourceID.MatchString(id):
		return "", ""
	case len(id) > 64:
		return fmt.Sprintf("it has %d characters", len([]rune(id))), rule
	case strings.ContainsAny(id, "*?$"):
		return "it holds a wildcard, which would widen IAM policies", rule
	case strings.ContainsAny(id, `/\.`):
		return "it could leave its folder, for it becomes part of object keys and paths", rule
	}
	return "it holds other characters than letters of A to Z, digits, _ and -", rule
}

func (c *checker) checkDestination(i int, d Destination) {
	bad := func(field, what, fix string) {
		if what != "" {
			c.add(destinationObject(i, d), destinationPath(i, field), field, what, fix)
		}
	}
	if !destName.MatchString(d.Name) {
		what := "it is not a destination's name"
		if d.Name == "" {
			what = "it is missing"
		}
		bad("name", what, "use 1 to 63 of a-z 0-9 -, beginning with a letter or digit")
	}
	c.checkDestinationSources(i, d)
	check := func(field, value string, f func(string) (what, fix string)) {
		if value != "" {
			what, fix := f(value)
			bad(field, what, fix)
		}
	}
	what, fix := checkBucket(d.Bucket)
	bad("bucket", what, fix)
	check("region", d.Region, checkRegion)
	check("role_arn", d.RoleARN, checkRole)
	check("acl", d.ACL, checkACL)
	check("expected_bucket_owner", d.ExpectedBucketOwner, checkOwner)
	check("endpoint", d.Endpoint, checkEndpoint)
	c.checkAddressing(d, bad)
}

// checkAddressing finds contradictory choices of endpoints.
func (c *checker) checkAddressing(d Destination, bad func(field, what, fix string)) {
	for _, choice := range []struct {
		field string
		set   bool
	}{{"fips", d.FIPS}, {"dual_stack", d.DualStack}} {
		if choice.set && d.Endpoint != "" {
			bad(choice.field, "it chooses among AWS's own endpoints, and endpoint names one", "remove one of the two")
		}
	}
	if p, ok := endpointPartition(d.Endpoint); ok && d.Region != "" && iam.RegionPartition(d.Region) != p {
		bad("region", fmt.Sprintf("%s is not in %s, the endpoint's partition of AWS", d.Region, p), "write the region of the endpoint, or leave it out")
	}
	if d.FIPS && d.Region != "" && !HasFIPS(d.Region) {
		bad("fips", fmt.Sprintf("S3 has no FIPS endpoint in %s", d.Region), "remove it, or use a bucket in a region of the US or Canada")
	}
	name, _ := SplitBucket(d.Bucket)
	if d.PathStyle != nil && !*d.PathStyle && strings.Contains(name, ".") && !strings.HasPrefix(d.Endpoint, "http:") {
		bad("path_style", fmt.Sprintf("no certificate covers %q before a host's name, for its dots", name), "remove it")
	}
}

// HasFIPS reports whether S3 has FIPS endpoints in a region: in those of the US, including
// GovCloud, and of Canada (https://aws.amazon.com/compliance/fips/#FIPS_Endpoints_by_Service).
func HasFIPS(region string) bool {
	return strings.HasPrefix(region, "us-") || strings.HasPrefix(region, "ca-")
}

func (c *checker) checkDestinationSources(i int, d Destination) {
	seen := map[string]bool{}
	if len(d.Sources) == 0 {
		c.add(destinationObject(i, d), destinationPath(i, "sources"), "sources", "it names no source", "list ids of the workspace's sources")
	}
	for k, id := range d.Sources {
		at, field := destinationPath(i, fmt.Sprintf("sources/%d", k)), fmt.Sprintf("sources[%d]", k)
		switch {
		case seen[id]:
			c.add(destinationObject(i, d), at, field, fmt.Sprintf("%q stands there twice", id), "name it once")
		case !c.sources[id]:
			fix := "add it to the workspace's sources, or name one of them"
			if c.hintsLeft--; c.hintsLeft >= 0 {
				if near := spelling.Suggest(id, slices.Sorted(maps.Keys(c.sources))); near != "" {
					fix = fmt.Sprintf("the nearest source of the workspace is %q", near)
				}
			}
			c.add(destinationObject(i, d), at, field, fmt.Sprintf("unknown source %q", id), fix)
		}
		seen[id] = true
	}
}

var (
	regionName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	zone       = regexp.MustCompile(`^([a-z]{2}(?:-[a-z]+)+-[0-9])[a-z]$`)
)

// checkRegion is lenient, because S3-compatible servers have their own regions.
func checkRegion(region string) (what, fix string) {
	what = fmt.Sprintf("%q is not a region", region)
	if m := zone.FindStringSubmatch(region); m != nil {
		return fmt.Sprintf("%q is an availability zone", region), "write " + m[1]
	}
	if regionName.MatchString(region) {
		return "", ""
	}
	if s := strings.ToLower(strings.ReplaceAll(region, "_", "-")); regionName.MatchString(s) {
		return what, "write " + s
	}
	return what, "write it like eu-west-1, or leave it out to have it inferred"
}

// cannedACLs are the canned ACLs that give access to nobody but the bucket's owner and the
// object's.
var cannedACLs = []string{"private", "bucket-owner-read", "bucket-owner-full-control"}

func checkACL(acl string) (what, fix string) {
	if slices.Contains(cannedACLs, acl) {
		return "", ""
	}
	fix = "use " + strings.Join(cannedACLs, ", ") + ", or leave it out"
	if slices.Contains([]string{"public-read", "public-read-write", "authenticated-read", "aws-exec-read"}, acl) {
		return fmt.Sprintf("%q would show the events to others than the bucket's owner", acl), fix
	}
	return fmt.Sprintf("%q is not a canned ACL for objects", acl), fix
}

func checkEndpoint(endpoint string) (what, fix string) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "it is not the URL of a server", "write https://host or https://host:port"
	case u.User != nil:
		return "it holds credentials", "remove them"
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > unicode.MaxASCII }):
		return "its host is not ASCII", "write the name as it is in DNS, xn--…"
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Sprintf("%q has a path or query", endpoint), "write " + u.Scheme + "://" + u.Host + " here, and bucket and prefix as bucket"
	}
	// With such a host, another bucket than the one in field bucket would be written to.
	_, isAWS := iam.CutDomain(u.Hostname())
	if _, ok := endpointPartition(endpoint); isAWS && !ok {
		return fmt.Sprintf("%q is not the host of S3 for all buckets", endpoint), "write it like https://s3.eu-west-1.amazonaws.com, or leave it out, and the bucket as bucket"
	}
	return "", ""
}
