package s3server

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/iam"
)

// Bucket describes a bucket.
type Bucket struct {
	Name string `json:"-"`
	// Region is where the bucket is. Requests signed for another region are refused, as WrongRegion
	// says. Default Config.Region.
	Region      string            `json:"region"`
	WrongRegion WrongRegionAnswer `json:"elsewhere,omitempty"`
	// Owner is the 12-digit account that owns the bucket. Default: no particular one, so that every
	// caller counts as belonging to the owner's account, and any x-amz-expected-bucket-owner is
	// right.
	Owner string `json:"owner,omitempty"`
	// Policy is the bucket's policy, nil for none.
	Policy *iam.Policy `json:"policy,omitempty"`
	// Ownership says whether objects have ACLs. Default EnforceOwner.
	Ownership Ownership `json:"ownership,omitempty"`
	// Key makes SSE-KMS the default encryption: the ARN of a KMS key, or its bare id, which AWS
	// looks up in the caller's account. Default: SSE-S3.
	Key string `json:"key,omitempty"`
	// BucketKey makes the bucket's ARN the encryption context, instead of the object's.
	BucketKey bool `json:"bucket_key,omitempty"`
	// Fault is the answer to every request for the bucket. Zero: nothing goes wrong. It does not
	// survive a restart.
	Fault Fault `json:"-"`
}

// Ownership is S3's Object Ownership.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
type Ownership string

// Kinds of ownership.
const (
	EnforceOwner Ownership = "BucketOwnerEnforced" // no ACLs; S3's default since 2023
	PreferOwner  Ownership = "BucketOwnerPreferred"
	ObjectWriter Ownership = "ObjectWriter"
)

// CreateBucket creates a bucket in the server's region, without a particular owner. It does nothing
// if the bucket exists.
func (s *Server) CreateBucket(name string) error {
	s.mu.RLock()
	_, exists := s.buckets[name]
	s.mu.RUnlock()
	if exists {
		return nil
	}
	return s.PutBucket(Bucket{Name: name})
}

// PutBucket creates a bucket, or replaces the description of an existing one, whose objects stay.
func (s *Server) PutBucket(b Bucket) error {
	if b.Region == "" {
		b.Region = s.cfg.Region
	}
	if b.Ownership == "" {
		b.Ownership = EnforceOwner
	}
	if !bucketName.MatchString(b.Name) || strings.Contains(b.Name, "..") {
		return fmt.Errorf("create bucket %q: not a bucket name (3 to 63 of a-z, 0-9, '-' and '.')", b.Name)
	}
	if err := b.checkPolicy(); err != nil {
		return fmt.Errorf("create bucket %q: %w", b.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.buckets[b.Name]; old != nil {
		return old.setMeta(b, s.now())
	}
	created, err := createBucket(s.bucketsDir(), b, s.now())
	if err != nil {
		return fmt.Errorf("create bucket %q: %w", b.Name, err)
	}
	s.buckets[b.Name] = created
	return nil
}

// checkPolicy refuses what S3 refuses as MalformedPolicy: actions of other services, and resources
// outside of the bucket.
func (b Bucket) checkPolicy() error {
	if b.Policy == nil {
		return nil
	}
	if err := checkPolicies(iam.Bucket, b.Policy); err != nil {
		return err
	}
	for i, st := range b.Policy.Statement {
		for _, a := range slices.Concat(st.Action, st.NotAction) {
			if service, _, _ := strings.Cut(a, ":"); a != "*" && !strings.EqualFold(service, "s3") {
				return fmt.Errorf("%w at Statement[%d].Action: %q is not one of S3's", iam.ErrMalformed, i, a)
			}
		}
		for _, resource := range slices.Concat(st.Resource, st.NotResource) {
			if own := bucketARN(b.Region, b.Name); resource != own && !strings.HasPrefix(resource, own+"/") && resource != own+"*" {
				return fmt.Errorf("%w at Statement[%d].Resource: %q is not in this bucket (%s)", iam.ErrMalformed, i, resource, own)
			}
		}
	}
	return nil
}

// Buckets returns the names of all buckets, sorted.
func (s *Server) Buckets() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.buckets))
}
