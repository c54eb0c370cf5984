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

// Trial is a PUT like the one that is denied, but for one thing: if it is not
// denied, that thing is why. Nothing is stored by it.
type Trial struct {
	What    string `json:"what"`    // like "without the ACL"
	Outcome string `json:"outcome"` // "accepted", or what the store said
}

// knob is one thing that a PUT may do otherwise.
type knob struct {
	what  string
	turn  func(*catalog.Target)
	alter func(*objstore.PutOptions)
	// blame says what it means if the PUT is accepted with it.
	blame func(t catalog.Target, own string) Verdict
	alone bool // it is not tried together with others
}

// headers are the knobs of t's headers, the likeliest culprits first; those
// of one list exclude each other.
func headers(t catalog.Target) [][]knob {
	var out [][]knob
	kms := knob{what: "with x-amz-server-side-encryption: aws:kms", blame: blameNotKMS,
		turn: func(t *catalog.Target) { t.SSE = false }, alter: func(o *objstore.PutOptions) { o.ServerSideEncryption = "aws:kms" }}
	if t.SSE {
		out = append(out, []knob{{what: "without x-amz-server-side-encryption", turn: func(t *catalog.Target) { t.SSE = false }, blame: blameAES256}, kms})
	} else {
		out = append(out, []knob{{what: "with x-amz-server-side-encryption: AES256", turn: func(t *catalog.Target) { t.SSE = true }, blame: blameNotAES256}, kms})
	}
	if t.Owner != "" {
		out = append(out, []knob{{what: "without x-amz-expected-bucket-owner", turn: func(t *catalog.Target) { t.Owner = "" }, blame: blameOwner}})
	}
	if t.ACL != "" {
		return append(out, []knob{{what: "without x-amz-acl", turn: func(t *catalog.Target) { t.ACL = "" }, blame: blameACL}})
	}
	return append(out, []knob{{what: "with x-amz-acl: " + fullControl, turn: func(t *catalog.Target) { t.ACL = fullControl }, blame: blameNoACL, alone: true}})
}

const fullControl = "bucket-owner-full-control"

// bare is the knob of the path prefix.
func bare(t catalog.Target) knob {
	return knob{what: "below the bucket's root, without the prefix " + t.Prefix, turn: func(t *catalog.Target) { t.Prefix = "" }, blame: blamePrefix}
}

// explain finds why PUTs are denied, by sending the first of them again with
// one thing changed at a time: at most a dozen requests.
func (r *run) explain(ctx context.Context, failed *try, into, not []string) Verdict {
	base := judge(failed.err, r.t, r.own)
	var e *objstore.Error
	if !errors.As(failed.err, &e) || !mayDepend(e) {
		return base
	}
	r.denial = readDenial(e.Message)
	r.said = fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message)
	if len(into) > 0 {
		return r.asFound(base, blameFolders(r.t, r.own, into, not))
	}
	options := headers(r.t)
	for _, alternatives := range options {
		for _, k := range alternatives {
			if r.accepts(ctx, failed.source, k) {
				return r.asFound(base, k.blame(r.t, r.own))
			}
		}
	}
	if r.t.Prefix != "" && r.accepts(ctx, failed.source, bare(r.t)) {
		return r.asFound(base, blamePrefix(r.t, r.own))
	}
	if v, ok := r.several(ctx, failed.source, options); ok {
		return r.asFound(base, v)
	}
	return unmoved(base, r.denial, r.t, r.own)
}

// unmoved is a denial that no header makes a difference to.
func unmoved(v Verdict, d denial, t catalog.Target, own string) Verdict {
	v.Cause += "; it is the same without the headers for encryption, ACL and owner, and with others"
	switch {
	case d.explicit && (d.policy == "" || d.policy == ofResource || d.policy == ofIdentity):
		where := fmt.Sprintf("the policy of bucket %q", t.BucketName)
		if d.policy == ofIdentity {
			where = "the policies of " + principal(t)
		}
		v.Fix.Do = fmt.Sprintf("find the Deny in %s that applies to s3:PutObject on %s, such as one on aws:SourceIp, aws:SourceVpce, aws:SecureTransport, aws:PrincipalArn or a certain KMS key, and except %s from it",
			where, policy.ObjectARN(t, "*"), principal(t))
	case d.explicit, d.policy != "":
	case t.RoleARN == "":
		// Two accounts: both must allow it.
		v.Fix.Do = fmt.Sprintf("likeliest first: (1) %s; (2) %s; (3) a Deny in the bucket's policy or in one of an organization applies: except %s from it",
			fixOf(ofResource, t, own), fixOf(ofIdentity, t, own), principal(t))
		v.Statements = append(bucketStatements(t, own), identityStatements(t, own)...)
	case t.Owner != "" && t.Owner != catalog.RoleAccount(t.RoleARN):
		v.Fix.Do = fmt.Sprintf("likeliest first: (1) the bucket is of another account than the role, so both must allow it: %s; (2) and %s; (3) a Deny applies: except %s from it",
			fixOf(ofResource, t, own), fixOf(ofIdentity, t, own), principal(t))
		v.Statements = append(bucketStatements(t, own), identityStatements(t, own)...)
	default:
		v.Fix.Do = fmt.Sprintf("likeliest first: (1) %s; (2) a Deny in the bucket's policy or in one of an organization applies: except %s from it",
			fixOf(ofIdentity, t, own), principal(t))
		v.Statements = identityStatements(t, own)
	}
	return v
}

func fixOf(policy string, t catalog.Target, own string) string {
	fix, _ := lacking(denial{policy: policy}, t, own)
	return fix
}

// mayDepend says whether the answer may be for the request's headers or place.
func mayDepend(e *objstore.Error) bool {
	d := readDenial(e.Message)
	return e.Code == "AccessDenied" && !strings.HasPrefix(d.action, "kms:")
}

// several finds two or more headers that are denied each by itself: it turns
// all of them, and then those back that make no difference.
func (r *run) several(ctx context.Context, source string, options [][]knob) (Verdict, bool) {
	for _, encryption := range append([]knob{{}}, options[0]...) {
		turned := []knob{encryption}
		for _, alternatives := range options[1:] {
			if !alternatives[0].alone {
				turned = append(turned, alternatives[0])
			}
		}
		if encryption.turn == nil {
			turned = turned[1:]
		}
		if len(turned) < 2 || !r.accepts(ctx, source, turned...) {
			continue
		}
		for i := 0; i < len(turned) && len(turned) > 2; {
			rest := append(append([]knob{}, turned[:i]...), turned[i+1:]...)
			if r.accepts(ctx, source, rest...) {
				turned = rest
			} else {
				i++
			}
		}
		v := turned[0].blame(r.t, r.own)
		for _, k := range turned[1:] {
			more := k.blame(r.t, r.own)
			v.Cause, v.Fix.Do = v.Cause+"; and "+more.Cause, v.Fix.Do+"; and "+more.Fix.Do
			v = v.with(more.Statements...)
		}
		return v, true
	}
	return Verdict{}, false
}

// accepts tries the PUT with the knobs turned.
func (r *run) accepts(ctx context.Context, source string, knobs ...knob) bool {
	t := r.t
	var whats []string
	for _, k := range knobs {
		k.turn(&t)
		whats = append(whats, k.what)
	}
	out := r.try(ctx, t, source, func(o *objstore.PutOptions) {
		for _, k := range knobs {
			if k.alter != nil {
				k.alter(o)
			}
		}
	})
	trial := Trial{What: strings.Join(whats, ", "), Outcome: "accepted"}
	accepted := out.err == nil
	var e *objstore.Error
	if errors.As(out.err, &e) {
		trial.Outcome = "denied as well"
		if said := fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message); said != r.said {
			trial.Outcome = said
		}
		accepted = r.furtherOn(e)
	} else if out.err != nil {
		trial.Outcome = out.err.Error()
	}
	r.report.Trials = append(r.report.Trials, trial)
	return accepted
}

// furtherOn says whether a trial failed for another reason, and later, than
// the PUT: at the KMS key, or at the right to set an ACL when a Deny was before.
func (r *run) furtherOn(e *objstore.Error) bool {
	d := readDenial(e.Message)
	return strings.HasPrefix(e.Code, "KMS.") || strings.HasPrefix(d.action, "kms:") ||
		r.denial.explicit && !d.explicit && d.action == "s3:PutObjectAcl" && r.denial.action != d.action
}

// asFound is the verdict with what the store said to the real PUT. Where that
// was a Deny, no statement that allows helps.
func (r *run) asFound(base, found Verdict) Verdict {
	found.Cause += " (" + base.Cause + ")"
	if r.denial.explicit {
		found.Statements = slices.DeleteFunc(found.Statements, func(s Statement) bool { return s.allows })
		if found.grants {
			found.Fix.Do += "; and except that from " + denyOf(r.denial, r.t)
		}
	}
	return found
}

// explainWrite says why an object may not be stored where its PUT is allowed.
func (r *run) explainWrite(err error) Verdict {
	base := judge(err, r.t, r.own)
	var e *objstore.Error
	if errors.As(err, &e) && ofKey(e) || r.t.SSE {
		return base
	}
	v := permanent("kms", fmt.Sprintf("the PUT is allowed, but when the object is to be stored it is denied: %s may not use the KMS key of the bucket's default encryption", principal(r.t)), "")
	v.Cause += " (" + base.Cause + ")"
	return keyDenied(v, denial{}, r.t, r.own)
}
