// Package catalog defines which sources exist, who may write to them and which destinations their
// files are owed to. Operators declare workspaces, sources and destinations in YAML; the package
// makes an immutable, indexed Snapshot of them, which every role follows while it runs.
//
// It validates and indexes. It does not know Kafka: the process that follows the catalog topic
// passes the records to a Live catalog. The formats of documents and records are described in
// schemas/catalog.md.
package catalog

// Workspace is one customer: one document of the catalog.
type Workspace struct {
	// ID is the sts:ExternalId with which this customer's roles are assumed. It is generated: "ws_"
	// and 16 to 40 of [0-9A-Za-z].
	ID           string        `json:"workspace"`
	Sources      []Source      `json:"sources,omitempty"`
	Destinations []Destination `json:"destinations,omitempty"`
}

// MaxSpread is higher than any topic's number of partitions, so it means all of them.
const MaxSpread = 10_000

// Source is where events come from.
type Source struct {
	ID   string `json:"id"` // ^[A-Za-z0-9_-]{1,64}$, unique over all workspaces
	Name string `json:"name,omitempty"`
	// WriteKeys are the keys as written in YAML. They never leave this process: only their hashes
	// are stored and compared.
	WriteKeys []string `json:"write_keys,omitempty"`
	// WriteKeyHashes are the hex SHA-256 sums of write keys.
	WriteKeyHashes []string `json:"write_key_hashes,omitempty"`
	// Spread is over how many partitions of the events topic the collector spreads the source's
	// events, by messageId; at most MaxSpread. With 0 or 1 all go to one partition, and keep their
	// order.
	Spread int `json:"spread,omitempty"`
}

// Destination is a bucket that files are owed to.
type Destination struct {
	Name    string   `json:"name"`    // unique in the workspace, ^[a-z0-9][a-z0-9-]{0,62}$
	Sources []string `json:"sources"` // source ids of this workspace
	// Bucket is a bucket name with an optional key prefix: "name/path/prefix".
	Bucket string `json:"bucket"`
	Region string `json:"region,omitempty"` // empty: inferred
	// RoleARN is the role to assume. If empty, the destination is classic: the operator's own
	// principal puts, and the bucket's policy allows it.
	RoleARN string `json:"role_arn,omitempty"`
	// ServerSideEncryption asks for SSE-S3 (AES256); false leaves it to the
	// bucket's default encryption. Default true.
	ServerSideEncryption *bool  `json:"server_side_encryption,omitempty"`
	ACL                  string `json:"acl,omitempty"`
	// ExpectedBucketOwner is a 12-digit account; default: the role's account.
	ExpectedBucketOwner string `json:"expected_bucket_owner,omitempty"`
	// Endpoint is the URL of a VPC endpoint or of an S3-compatible server. Only endpoints listed in
	// destinations.allowed_endpoints may be plain http, loopback or private.
	Endpoint string `json:"endpoint,omitempty"`
	// FIPS and DualStack choose among AWS's own endpoints of S3: those with validated cryptography,
	// and those that can also be reached over IPv6. FIPS also applies to STS. Neither can be
	// combined with Endpoint.
	FIPS      bool `json:"fips,omitempty"`
	DualStack bool `json:"dual_stack,omitempty"`
	// PathStyle puts the bucket's name into the path (true) or in front of the host name (false).
	// Default: true, except for AWS.
	PathStyle *bool `json:"path_style,omitempty"`
	Enabled   *bool `json:"enabled,omitempty"` // default true
}
