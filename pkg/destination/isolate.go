package destination

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
)

// Trial is the denied PUT with something changed. If it is accepted, what was changed is the
// reason. It stores nothing.
type Trial struct {
	What    string `json:"what"`    // like "without the ACL"
	Outcome string `json:"outcome"` // "accepted", or what the store said
}

// knob is one thing that can be changed in a PUT.
type knob struct {
	what         string
	change       func(*catalog.Target)
	alterOptions func(*objstore.PutOptions)
	// blame returns the verdict if the PUT is accepted with the change.
	blame func(t catalog.Target, own string) Verdict
	alone bool // it is not tried together with others
}

// headerKnobs returns the knobs for t's headers, the most likely culprits first. Those of one list
// exclude each other.
func headerKnobs(t catalog.Target) [][]knob {
	var out [][]knob
	kms := knob{what: "with x-amz-server-side-encryption: aws:kms", blame: blameNotKMS,
		change: func(t *catalog.Target) { t.SSE = false }, alterOptions: func(o *objstore.PutOptions) { o.ServerSideEncryption = "aws:kms" }}
	if t.SSE {
		out = append(out, []knob{{what: "without x-amz-server-side-encryption", change: func(t *catalog.Target) { t.SSE = false }, blame: blameAES256}, kms})
	} else {
		out = append(out, []knob{{what: "with x-amz-server-side-encryption: AES256", change: func(t *catalog.Target) { t.SSE = true }, blame: blameNotAES256}, kms})
	}
	if t.Owner != "" {
		out = append(out, []knob{{what: "without x-amz-expected-bucket-owner", change: func(t *catalog.Target) { t.Owner = "" }, blame: blameOwner}})
	}
	if t.ACL != "" {
		return append(out, []knob{{what: "without x-amz-acl", change: func(t *catalog.Target) { t.ACL = "" }, blame: blameACL}})
	}
	return append(out, []knob{{what: "with x-amz-acl: " + fullControl, change: func(t *catalog.Target) { t.ACL = fullControl }, blame: blameNoACL, alone: true}})
}

const fullControl = "bucket-owner-full-control"

// prefixKnob returns the knob for the path prefix.
func prefixKnob(t catalog.Target) knob {
	return knob{what: "below the bucket's root, without the prefix " + t.Prefix, change: func(t *catalog.Target) { t.Prefix = "" }, blame: blamePrefix}
}

// explain finds out why PUTs are denied, by sending the first denied one again with one thing
// changed at a time: at most a dozen requests.
func (r *run) explain(ctx context.Context, failed *attempt, allowed, refused []string) Verdict {
	base := judge(failed.err, r.t, r.ownARN)
	var e *objstore.Error
	if !errors.As(failed.err, &e) || !mayDependOnRequest(e) {
		return base
	}
	r.denial = readDenial(e.Message)
	r.denialText = fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message)
	if len(allowed) > 0 {
		return r.withDenial(base, blameFolders(r.t, r.ownARN, allowed, refused))
	}
	options := headerKnobs(r.t)
	for _, alternatives := range options {
		for _, k := range alternatives {
			if r.acceptsWith(ctx, failed.source, k) {
				return r.withDenial(base, k.blame(r.t, r.ownARN))
			}
		}
	}
	if r.t.Prefix != "" && r.acceptsWith(ctx, failed.source, prefixKnob(r.t)) {
		return r.withDenial(base, blamePrefix(r.t, r.ownARN))
	}
	if v, ok := r.explainSeveral(ctx, failed.source, options); ok {
		return r.withDenial(base, v)
	}
	return explainOtherDenial(base, r.denial, r.t, r.ownARN)
}

// explainOtherDenial explains a denial on which no header has an effect.
func explainOtherDenial(v Verdict, d denial, t catalog.Target, ownARN string) Verdict {
	v.Cause += "; it is the same without the headers for encryption, ACL and owner, and with others"
	switch {
	case d.explicit && (d.policy == "" || d.policy == kindResource || d.policy == kindIdentity):
		where := fmt.Sprintf("the policy of bucket %q", t.BucketName)
		if d.policy == kindIdentity {
			where = "the policies of " + principal(t)
		}
		v.Fix.Do = fmt.Sprintf("find the Deny in %s that applies to s3:PutObject on %s, such as one on aws:SourceIp, aws:SourceVpce, aws:SecureTransport, aws:PrincipalArn or a certain KMS key, and except %s from it",
			where, policy.ObjectARN(t, "*"), principal(t))
	case d.explicit, d.policy != "":
	case t.RoleARN == "":
		// Two accounts are involved, and both must allow the request.
		v.Fix.Do = fmt.Sprintf("likeliest first: (1) %s; (2) %s; (3) a Deny in the bucket's policy or in one of an organization applies: except %s from it; (4) the bucket has %s",
			fixOf(kindResource, t, ownARN), fixOf(kindIdentity, t, ownARN), principal(t), requesterPays)
		v.Statements = append(bucketStatements(t, ownARN), identityStatements(t, ownARN)...)
	case t.Owner != "" && t.Owner != catalog.RoleAccount(t.RoleARN):
		v.Fix.Do = fmt.Sprintf("likeliest first: (1) the bucket is of another account than the role, so both must allow it: %s; (2) and %s; (3) a Deny applies: except %s from it; (4) the bucket has %s",
			fixOf(kindResource, t, ownARN), fixOf(kindIdentity, t, ownARN), principal(t), requesterPays)
		v.Statements = append(bucketStatements(t, ownARN), identityStatements(t, ownARN)...)
	default:
		v.Fix.Do = fmt.Sprintf("likeliest first: (1) %s; (2) a Deny in the bucket's policy or in one of an organization applies: except %s from it",
			fixOf(kindIdentity, t, ownARN), principal(t))
		v.Statements = identityStatements(t, ownARN)
	}
	return v
}

// requesterPays is what S3 holds against callers of other accounts than the bucket's, without
// saying so: they read "Access Denied".
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/RequesterPaysBuckets.html
const requesterPays = "Requester Pays: turn that off, because Sealift does not agree to pay for requests"

func fixOf(policy string, t catalog.Target, ownARN string) string {
	fix, _ := allowFix(denial{policy: policy}, t, ownARN)
	return fix
}

// mayDependOnRequest reports whether the answer may depend on the request's headers or key.
func mayDependOnRequest(e *objstore.Error) bool {
	d := readDenial(e.Message)
	return e.Code == "AccessDenied" && !strings.HasPrefix(d.action, "kms:")
}

// explainSeveral finds two or more headers that are each denied. It changes all of them, and then
// undoes the changes that make no difference.
func (r *run) explainSeveral(ctx context.Context, source string, options [][]knob) (Verdict, bool) {
	for _, encryption := range append([]knob{{}}, options[0]...) {
		changed := []knob{encryption}
		for _, alternatives := range options[1:] {
			if !alternatives[0].alone {
				changed = append(changed, alternatives[0])
			}
		}
		if encryption.change == nil {
			changed = changed[1:]
		}
		if len(changed) < 2 || !r.acceptsWith(ctx, source, changed...) {
			continue
		}
		for i := 0; i < len(changed) && len(changed) > 2; {
			rest := append(append([]knob{}, changed[:i]...), changed[i+1:]...)
			if r.acceptsWith(ctx, source, rest...) {
				changed = rest
			} else {
				i++
			}
		}
		v := changed[0].blame(r.t, r.ownARN)
		for _, k := range changed[1:] {
			more := k.blame(r.t, r.ownARN)
			v.Cause, v.Fix.Do = v.Cause+"; and "+more.Cause, v.Fix.Do+"; and "+more.Fix.Do
			v = v.with(more.Statements...)
		}
		return v, true
	}
	return Verdict{}, false
}

// acceptsWith reports whether the PUT with these changes is accepted.
func (r *run) acceptsWith(ctx context.Context, source string, knobs ...knob) bool {
	t := r.t
	var changes []string
	for _, k := range knobs {
		k.change(&t)
		changes = append(changes, k.what)
	}
	out := r.tryPut(ctx, t, source, func(o *objstore.PutOptions) {
		for _, k := range knobs {
			if k.alterOptions != nil {
				k.alterOptions(o)
			}
		}
	})
	trial := Trial{What: strings.Join(changes, ", "), Outcome: "accepted"}
	accepted := out.err == nil
	var e *objstore.Error
	if errors.As(out.err, &e) {
		trial.Outcome = "denied as well"
		if said := fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message); said != r.denialText {
			trial.Outcome = said
		}
		accepted = r.gotFurther(e)
	} else if out.err != nil {
		trial.Outcome = out.err.Error()
	}
	r.report.Trials = append(r.report.Trials, trial)
	return accepted
}

// gotFurther reports whether a trial got further than the denied PUT and failed for another reason:
// at the KMS key, or at the right to set an ACL where the PUT met a Deny.
func (r *run) gotFurther(e *objstore.Error) bool {
	d := readDenial(e.Message)
	return strings.HasPrefix(e.Code, "KMS.") || strings.HasPrefix(d.action, "kms:") ||
		r.denial.explicit && !d.explicit && d.action == "s3:PutObjectAcl" && r.denial.action != d.action
}

// withDenial returns the verdict found, with what the store said about the real PUT. If that was a
// Deny, statements that allow are removed, since they do not help.
func (r *run) withDenial(base, found Verdict) Verdict {
	found.Cause += " (" + base.Cause + ")"
	if r.denial.explicit {
		found.Statements = slices.DeleteFunc(found.Statements, func(s Statement) bool { return s.allows })
		if found.needsGrant {
			found.Fix.Do += "; and except that from " + denyLocation(r.denial, r.t)
		}
	}
	return found
}

// explainWrite explains why an object cannot be stored although its PUT is allowed.
func (r *run) explainWrite(err error) Verdict {
	base := judge(err, r.t, r.ownARN)
	var e *objstore.Error
	if errors.As(err, &e) && isKMS(e) || r.t.SSE {
		return base
	}
	v := permanent("kms", fmt.Sprintf("the PUT is allowed, but when the object is to be stored it is denied: %s may not use the KMS key of the bucket's default encryption", principal(r.t)), "")
	v.Cause += " (" + base.Cause + ")"
	return kmsDenied(v, denial{}, r.t, r.ownARN)
}
