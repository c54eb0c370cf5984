// Package catalog says which sources exist, who may write to them and where
// their files are owed: the workspaces, sources and destinations that
// operators declare in YAML, as an immutable, indexed Snapshot that every role
// follows while it runs.
//
// It validates and indexes. It does not know Kafka: a Live catalog is fed
// records by whoever follows the catalog topic. The formats, of documents and
// of records, are described in schemas/catalog.md.
package catalog

// Workspace is one customer: a document of the catalog.
type Workspace struct {
	// ID is the sts:ExternalId under which this customer's roles are assumed;
	// generated, "ws_" and 16 to 40 of [0-9A-Za-z].
	ID           string        `json:"workspace"`
	Sources      []Source      `json:"sources,omitempty"`
	Destinations []Destination `json:"destinations,omitempty"`
}

// MaxSpread is more than a topic has partitions: all of them.
const MaxSpread = 10_000

// Source is where events come from.
type Source struct {
	ID   string `json:"id"` // ^[A-Za-z0-9_-]{1,64}$, unique over all workspaces
	Name string `json:"name,omitempty"`
	// WriteKeys, as written by people. They never leave this process: what is
	// stored and compared is their hash.
	WriteKeys []string `json:"write_keys,omitempty"`
	// WriteKeyHashes are hex sha256 of write keys.
	WriteKeyHashes []string `json:"write_key_hashes,omitempty"`
	// Spread is over how many partitions of the events topic the collector
	// spreads the source's events, by messageId, at most MaxSpread; 0 or 1:
	// all go to one, and keep their order.
	Spread int `json:"spread,omitempty"`
}

// Destination is a bucket that files are owed to.
type Destination struct {
	Name    string   `json:"name"`    // unique in the workspace, ^[a-z0-9][a-z0-9-]{0,62}$
	Sources []string `json:"sources"` // source ids of this workspace
	// Bucket is a bucket name with an optional key prefix: "name/path/prefix".
	Bucket string `json:"bucket"`
	Region string `json:"region,omitempty"` // empty: inferred
	// RoleARN is the role to assume; empty: classic, the operator's own
	// principal, allowed by the bucket's policy.
	RoleARN string `json:"role_arn,omitempty"`
	// ServerSideEncryption asks for SSE-S3 (AES256); false leaves it to the
	// bucket's default encryption. Default true.
	ServerSideEncryption *bool  `json:"server_side_encryption,omitempty"`
	ACL                  string `json:"acl,omitempty"`
	// ExpectedBucketOwner is a 12-digit account; default: the role's account.
	ExpectedBucketOwner string `json:"expected_bucket_owner,omitempty"`
	// Endpoint is a VPC endpoint or an S3-compatible server's URL; only those
	// that destinations.allowed_endpoints names may be plain http, loopback
	// or private.
	Endpoint string `json:"endpoint,omitempty"`
	// FIPS and DualStack choose among AWS's own endpoints of S3: those with
	// validated cryptography, and those that are reached by IPv6 too. FIPS goes
	// for STS as well. Not with Endpoint.
	FIPS      bool `json:"fips,omitempty"`
	DualStack bool `json:"dual_stack,omitempty"`
	// PathStyle puts the bucket's name into the path (true) or before the
	// host's (false). Default: into the path, but for AWS.
	PathStyle *bool `json:"path_style,omitempty"`
	Enabled   *bool `json:"enabled,omitempty"` // default true
}
