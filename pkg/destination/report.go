package destination

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
)

// Status says how a step went.
type Status string

// Statuses.
const (
	Passed  Status = "ok"
	Failed  Status = "failed"
	Skipped Status = "skipped" // Detail says why
)

// Step is one step of a check.
type Step struct {
	Name         string   `json:"step"`
	Status       Status   `json:"status"`
	Detail       string   `json:"detail,omitempty"` // what was observed
	Milliseconds int64    `json:"took_ms"`
	Problem      *Verdict `json:"problem,omitempty"` // of a failed step
}

// Report is the result of a check.
type Report struct {
	Destination string   `json:"destination"`
	OK          bool     `json:"ok"` // no step failed
	Steps       []Step   `json:"steps"`
	Trials      []Trial  `json:"trials,omitempty"` // PUTs with something changed, tried to find out why one is denied
	Proven      []string `json:"proven"`
	Unproven    []string `json:"not_proven"`
	Stored      []Stored `json:"stored,omitempty"`
	Puts        int      `json:"put_requests"`
}

// Stored is an object that a check left in the bucket.
type Stored struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
}

// skipReason is the reason why a step has nothing to try.
type skipReason string

func (s skipReason) Error() string { return string(s) }

// verdictError is an error whose verdict is known.
type verdictError struct{ Verdict }

func (j *verdictError) Error() string { return j.Cause }

// step runs one step. After a failed step, later ones are skipped.
func (r *run) step(name string, try func() (string, error)) {
	s := Step{Name: name, Status: Skipped, Detail: "needs: " + r.failedStep}
	if r.failedStep == "" {
		begun := time.Now()
		detail, err := try()
		s = Step{Name: name, Status: Passed, Detail: detail, Milliseconds: time.Since(begun).Milliseconds()}
		s.fail(err, r.t, r.ownARN)
		if s.Status == Failed {
			r.failedStep = name
		}
	}
	r.add(s)
}

func (r *run) add(s Step) {
	r.report.Steps = append(r.report.Steps, s)
	if r.OnStep != nil {
		r.OnStep(s)
	}
}

// fail fills the step in with what err means; nil leaves it passed.
func (s *Step) fail(err error, t catalog.Target, ownARN string) {
	var (
		nothing skipReason
		known   *verdictError
	)
	switch {
	case err == nil:
	case errors.As(err, &nothing):
		s.Status, s.Detail = Skipped, string(nothing)
	case errors.As(err, &known):
		s.Status, s.Problem = Failed, &known.Verdict
	default:
		v := judge(err, t, ownARN)
		s.Status, s.Problem = Failed, &v
	}
}

// conclude lists what the check has proven, and what it has not.
func (r *run) conclude(checksOwner bool) {
	proven := func(format string, args ...any) {
		r.report.Proven = append(r.report.Proven, fmt.Sprintf(format, args...))
	}
	unproven := func(format string, args ...any) {
		r.report.Unproven = append(r.report.Unproven, fmt.Sprintf(format, args...))
	}
	if r.t.RoleARN != "" {
		proven("the role can be assumed, with this workspace's ExternalId")
	}
	encryption := "with AES256"
	if !r.t.SSE {
		encryption = "with the bucket's default encryption"
	}
	proven("%s into %s, %s", strings.Join(putActions(r.t), " and "), folders(r.t, r.Sources), encryption)
	switch {
	case r.t.Owner != "" && checksOwner:
		proven("the bucket belongs to account %s", r.t.Owner)
	case r.t.Owner != "":
		unproven("that the bucket belongs to account %s: nothing shows that the server looks at x-amz-expected-bucket-owner", r.t.Owner)
	case r.t.Endpoint == "":
		unproven("whose bucket it is: should it be deleted, and somebody else create one of its name, files would go there; expected_bucket_owner prevents that")
	}
	for _, s := range r.report.Steps {
		if s.Name == "external id" && s.Status == Passed {
			proven("nobody assumes the role by Sealift without that ExternalId")
		}
	}
	if r.ignoresChecksums {
		unproven("that files arrive undamaged: the store took one whose checksum is not that of its body")
	}
	switch {
	case r.Write && r.wroteObject:
		proven("an object can be stored and encrypted")
	case r.t.SSE:
		unproven("that an object is stored: --write stores one")
	default:
		unproven("that the KMS key of the bucket's default encryption may be used, if there is one: S3 may ask for it only when it stores; --write stores an object")
	}
	if r.t.RoleARN == "" && r.t.ACL == "" {
		unproven("that the bucket's owner may read what Sealift's account puts: so it is with the bucket's Object Ownership at BucketOwnerEnforced, the default since 2023; else set acl: " + fullControl)
	}
	if r.ownARN != "" {
		unproven("that the copiers run as %s, as this command does", r.ownARN)
	}
}
