package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/migration"
	"github.com/sealift/sealift/pkg/policy"
	"github.com/sealift/sealift/pkg/shell"
)

// moveSteps are the names of the steps, in order.
var moveSteps = []string{"policies", "check", "test", "switch", "confirm", "clean up"}

func (m *mover) printStepName(name string) {
	for i, s := range moveSteps {
		if s == name {
			fmt.Fprintf(m.out, "%d. %s\n", i+1, name)
		}
	}
}

func (m *mover) printf(format string, args ...any) { fmt.Fprintf(m.out, "   "+format+"\n", args...) }

// printHead prints what is to be done, and how far it has got.
func (m *mover) printHead(p migration.Phase) {
	from := m.plan.from
	if last := m.log.Last(); p != migration.Idle {
		from = last.From
		defer fmt.Fprintf(m.out, "continuing: %s by %s at %s\n", last.Step, last.By, formatMillis(last.At))
	}
	fmt.Fprintf(m.out, "%s\n  from %s\n  to   %s\n", m.plan.now.ID, from, m.plan.to)
}

// principal returns the ARN of Sealift's principal, and asks STS for it at most once. It is called
// only where the ARN is printed, so that reverting need not wait for it.
func (m *mover) principal(ctx context.Context) (string, error) {
	if m.principalARN != "" {
		return m.principalARN, nil
	}
	var err error
	m.principalARN, err = resolvePrincipal(ctx, m.a, m.s, "", "destinations.principal")
	return m.principalARN, err
}

// printPolicies prints what the customer has to attach for the new place. The policies for the old
// one stay until the migration is confirmed.
func (m *mover) printPolicies(ctx context.Context) error {
	own, err := m.principal(ctx)
	if err != nil {
		return err
	}
	set, err := policy.NewSet(m.plan.next, policy.Options{Principal: own})
	if err != nil {
		return err
	}
	attached := map[policy.Kind]string{
		policy.Trust: "the trust policy of role " + m.plan.next.RoleARN, policy.Role: "a policy of role " + m.plan.next.RoleARN,
		policy.Bucket: "in the policy of bucket " + m.plan.next.BucketName,
	}
	for _, d := range set.Documents {
		m.printf("%s:", attached[d.Kind])
		m.printDocument(d)
	}
	m.printf("leave what is attached now as it is until files arrive the new way: add to it, under another Sid where that is the same")
	if !m.plan.next.SSE {
		m.printf("if the bucket's default encryption is a KMS key of the customer, and for other formats: sealift destinations policy --help")
	}
	return nil
}

func (m *mover) printDocument(d policy.Document) {
	if pretty, err := json.MarshalIndent(d.Policy, "     ", "  "); err == nil {
		fmt.Fprintf(m.out, "     %s\n", pretty)
	}
}

// printCleanUp is step 6: what people have to do now, because Sealift has no permission to.
func (m *mover) printCleanUp(ctx context.Context, last migration.Note) {
	m.printStepName("clean up")
	m.printDocumentChange(last)
	from := m.plan.next
	from.Bucket, from.RoleARN = last.From.Bucket, last.From.RoleARN
	from.BucketName, from.Prefix = catalog.SplitBucket(from.Bucket)
	switch last.From.RoleARN {
	case "":
		m.printf("the customer: remove from the policy of bucket %s what lets Sealift's principal put files, unless another destination needs it; such as", from.BucketName)
		own, err := m.principal(ctx)
		if err != nil {
			m.printf("(%v)", err)
		} else if old, err := policy.NewSet(from, policy.Options{Principal: own}); err == nil { // otherwise the old way never worked
			for _, d := range old.Documents {
				m.printDocument(d)
			}
		}
	case last.To.RoleARN:
		m.printf("the customer: remove from the policies of role %s what lets it put files into s3://%s, unless another destination needs it", last.From.RoleARN, last.From.Bucket)
	default:
		m.printf("the customer: delete role %s, unless something else needs it", last.From.RoleARN)
	}
	m.printTestFolder(last)
	if last.From.Bucket != last.To.Bucket {
		m.printReplay("before", last.From, last.At)
	}
}

// printReplay says how the destination gets what was delivered to a former place until then, unix ms.
func (m *mover) printReplay(when string, former migration.Place, until int64) {
	m.printf("what was delivered %s stays in s3://%s; to have it in s3://%s too:", when, former.Bucket, m.plan.next.Bucket)
	end := time.UnixMilli(until).UTC().Truncate(time.Hour).Add(time.Hour) // the hours of --until are those of receipt
	m.printf("  sealift replay --destination %s --until %s --dry-run", shell.QuoteIfNeeded(m.plan.now.ID), end.Format("2006-01-02T15"))
}

// printDocumentChange says how to change the operator's document.
func (m *mover) printDocumentChange(last migration.Note) {
	m.printf("you: make the same change in the document of workspace %s, or the next `sealift catalog apply` reverts it:", m.plan.now.Workspace)
	for _, field := range []struct{ name, old, new string }{
		{"bucket", last.From.Bucket, last.To.Bucket}, {"role_arn", last.From.RoleARN, last.To.RoleARN},
	} {
		if field.old != field.new {
			m.printf("  %s", catalog.Change{Kind: catalog.Changed, Workspace: m.plan.now.Workspace, Object: fmt.Sprintf("destination %q", m.plan.now.Name), Field: field.name, Old: field.old, New: field.new})
		}
	}
}

// printTestFolder says how to delete the test folder, if there is one.
func (m *mover) printTestFolder(last migration.Note) {
	if last.Test != "" {
		m.printf("the customer: delete the test folder, which Sealift has no right to:")
		m.printf("  aws s3 rm --recursive%s %s", endpointFlag(m.plan.next, m.s.cfg.Destinations.Endpoint), shell.QuoteIfNeeded("s3://"+last.Test))
	}
}
