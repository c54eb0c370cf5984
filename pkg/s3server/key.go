package s3server

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/sealift/sealift/pkg/iam"
)

// Key is a KMS key, as far as S3 needs it.
type Key struct {
	// ARN is arn:aws:kms:{region}:{12 digits}:key/{id}.
	ARN string
	// Policy is the key's policy. Nobody can use the key without its consent, not even the key's
	// account. Required.
	Policy *iam.Policy
	State  KeyState
}

// KeyState says whether a key can be used.
type KeyState string

// States of keys. A key that is not registered does not exist.
const (
	Enabled         KeyState = ""
	Disabled        KeyState = "Disabled"
	PendingDeletion KeyState = "PendingDeletion"
)

var keyARN = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z0-9-]+):(\d{12}):key/([A-Za-z0-9-]+)$`)

// PutKey registers a key, or replaces the one with the same ARN. Keys do not survive a restart.
func (s *Server) PutKey(k Key) error {
	if !keyARN.MatchString(k.ARN) {
		return fmt.Errorf("register key %q: not a key's ARN; want arn:aws:kms:us-east-1:123456789012:key/id", k.ARN)
	}
	if err := checkPolicies(iam.Key, k.Policy); err != nil {
		return fmt.Errorf("register key %q: %w", k.ARN, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.ARN] = k
	return nil
}

// DeleteKey removes a key, as if its waiting period for deletion were over.
func (s *Server) DeleteKey(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, arn)
}

// ManagedKey is the alias of the key that AWS manages for S3 in each account.
const ManagedKey = "alias/aws/s3"

// useKey decides whether the caller may use a key through S3: by the policies of the key, the
// caller and the session, and by the key's state. what is the ARN of the encryption context. It
// returns the key's ARN.
//
// S3 passes on what KMS answers. If the refusal is not about permissions, its code is prefixed with
// KMS.
func (s *Server) useKey(r *request, meta bucketMeta, id, action, encryptionContext string) (string, *apiError) {
	caller := r.auth.principal
	owner := meta.ownerFor(caller)
	s.count(strings.TrimPrefix(action, "kms:"), r.bucket)
	if id == ManagedKey {
		arn := fmt.Sprintf("arn:%s:kms:%s:%s:%s", iam.RegionPartition(meta.Region), meta.Region, owner, ManagedKey)
		if caller.Account != owner && !caller.isOperator { // AWS's own policy for it covers only its account
			return "", kmsDeniedToStranger(caller, action)
		}
		return arn, nil
	}
	arn := id
	if !strings.HasPrefix(id, "arn:") {
		arn = fmt.Sprintf("arn:%s:kms:%s:%s:key/%s", iam.RegionPartition(meta.Region), meta.Region, caller.Account, id)
	}
	m := keyARN.FindStringSubmatch(arn)
	if m == nil || m[1] != meta.Region {
		return "", apiErrorf(http.StatusBadRequest, "KMS.NotFoundException", "Invalid arn %s", arn)
	}
	s.mu.RLock()
	key, exists := s.keys[arn]
	s.mu.RUnlock()
	same := m[2] == caller.Account
	switch {
	case !exists && (same || caller.isOperator):
		return "", apiErrorf(http.StatusBadRequest, "KMS.NotFoundException", "Key '%s' does not exist", arn)
	case !exists:
		return "", kmsDeniedToStranger(caller, action)
	}
	if failed := s.authorizeKey(r, meta, key, action, encryptionContext); failed != nil {
		return "", failed
	}
	switch key.State {
	case Disabled:
		return "", apiErrorf(http.StatusBadRequest, "KMS.DisabledException", "%s is disabled.", arn)
	case PendingDeletion:
		return "", apiErrorf(http.StatusBadRequest, "KMS.KMSInvalidStateException", "%s is pending deletion.", arn)
	}
	return arn, nil
}

func (s *Server) authorizeKey(r *request, meta bucketMeta, key Key, action, encryptionContext string) *apiError {
	caller := r.auth.principal
	if caller.isOperator {
		return nil
	}
	owner := accountOf(key.ARN)
	c := s.context(r, owner)
	delete(c, "aws:SourceIp") // S3 makes the call, on the caller's behalf
	c["aws:ViaAWSService"] = []string{"true"}
	c["kms:ViaService"] = []string{"s3." + meta.Region + ".amazonaws.com"}
	c["kms:CallerAccount"] = []string{caller.Account}
	c["kms:EncryptionContextKeys"] = []string{"aws:s3:arn"}
	c["kms:EncryptionContext:aws:s3:arn"] = []string{encryptionContext}
	d := iam.Evaluate(
		iam.Request{Caller: caller.Caller, Action: action, Resource: key.ARN, Owner: owner, Context: c},
		iam.Policies{Identity: caller.policies, Session: caller.session, Resource: key.Policy, Kind: iam.Key},
	)
	switch {
	case d.Allowed:
		return nil
	case caller.Account != owner && d.By == iam.Key:
		return kmsDeniedToStranger(caller, action)
	}
	return apiErrorf(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %s %s", caller.ARN, action, key.ARN, d.Reason(action))
}

// kmsDeniedToStranger is KMS's answer to callers from other accounts than the key's.
func kmsDeniedToStranger(caller principal, action string) *apiError {
	return apiErrorf(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: %s on this resource because the resource does not exist "+
		"in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access", caller.ARN, action)
}
