package s3server

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/iam"
)

// Role is a role that others may assume if its trust policy allows it.
type Role struct {
	// ARN is arn:aws:iam::{12 digits}:role/{name}.
	ARN string
	// Trust is the trust policy: who may assume the role, and under which conditions. Required.
	Trust *iam.Policy
	// Policies are what the role may do.
	Policies []*iam.Policy
	// MaxSession is the longest duration of a session, 1h to 12h. Default 1h.
	MaxSession time.Duration
	// Fault is the answer to every AssumeRole of the role, for instance while STS throttles its
	// account. Zero: nothing goes wrong.
	Fault Fault
}

var roleARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}):role/([\w+=,.@/-]+)$`)

// PutRole registers a role, or replaces the one with the same ARN. Roles do not survive a restart:
// whoever runs the server has to register them again.
func (s *Server) PutRole(role Role) error {
	if !roleARN.MatchString(role.ARN) {
		return fmt.Errorf("register role %q: not a role's ARN; want arn:aws:iam::123456789012:role/name", role.ARN)
	}
	if role.MaxSession == 0 {
		role.MaxSession = time.Hour
	}
	if role.MaxSession < time.Hour || role.MaxSession > 12*time.Hour {
		return fmt.Errorf("register role %q: MaxSession %v: want 1h to 12h", role.ARN, role.MaxSession)
	}
	if err := checkPolicies(iam.Trust, role.Trust); err != nil {
		return fmt.Errorf("register role %q: trust policy: %w", role.ARN, err)
	}
	if err := checkPolicies(iam.Identity, role.Policies...); err != nil {
		return fmt.Errorf("register role %q: %w", role.ARN, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[role.ARN] = role
	return nil
}

// DeleteRole removes a role. Its sessions lose all permissions.
func (s *Server) DeleteRole(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.roles, arn)
}

// PutOnlyRole returns the role that Sealift asks its customers for: trusted may assume it with the
// external id, and only put objects into the buckets. Without an external id, the trust policy has
// no such condition, as in roles of customers who did not read on.
func PutOnlyRole(arn, trusted, externalID string, buckets ...string) Role {
	trust := iam.Statement{Effect: iam.Allow, Principal: iam.AWS(trusted), Action: iam.Strings{"sts:AssumeRole"}}
	if externalID != "" {
		trust.Condition = iam.Condition{"StringEquals": {"sts:ExternalId": {externalID}}}
	}
	put := iam.Statement{Effect: iam.Allow, Action: iam.Strings{"s3:PutObject", "s3:PutObjectAcl"}}
	_, rest, _ := strings.Cut(arn, ":")
	partition, _, _ := strings.Cut(rest, ":")
	for _, b := range buckets {
		put.Resource = append(put.Resource, "arn:"+partition+":s3:::"+b+"/*")
	}
	role := Role{ARN: arn, Trust: &iam.Policy{Version: iam.Version, Statement: []iam.Statement{trust}}}
	if len(buckets) > 0 {
		role.Policies = []*iam.Policy{{Version: iam.Version, Statement: []iam.Statement{put}}}
	}
	return role
}
