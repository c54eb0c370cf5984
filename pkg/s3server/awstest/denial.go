package awstest

import (
	"slices"
	"testing"

	"github.com/sealift/sealift/pkg/s3server"
)

// Mend is what has to be changed for a destination to work.
type Mend string

// What there is to be changed, and by whom.
const (
	TrustPolicy    Mend = "trust policy"    // the customer's role
	RolePolicy     Mend = "role policy"     // the customer's role
	BucketPolicy   Mend = "bucket policy"   // the customer's bucket
	BucketSetting  Mend = "bucket setting"  // ownership, default encryption
	KeyPolicy      Mend = "key policy"      // the customer's KMS key
	KeyState       Mend = "key state"       // the customer's KMS key
	CatalogEntry   Mend = "catalog"         // bucket, region, acl, server_side_encryption, expected_bucket_owner
	OperatorPolicy Mend = "operator policy" // the operator's own identity policy
	OperatorKey    Mend = "operator key"    // the operator's own credentials
	STSSetting     Mend = "sts setting"     // regions of the operator's account
	Account        Mend = "account"         // the customer, with AWS
	Transport      Mend = "transport"       // the operator: TLS, network
	Nothing        Mend = "nothing"         // it passes
)

// Denial is a hazard, and what AWS says to a delivery that meets it.
type Denial struct {
	// Name of the hazard.
	Name string
	// Classic: the destination has no role.
	Classic bool
	// Op is the call that AWS refuses: AssumeRole or PutObject. "" if AWS
	// lets the delivery pass, and it is for Sealift to refuse it or to warn.
	Op string
	// Status and Code are AWS's answer, and Says is a part of its message.
	Status int
	Code   string
	Says   string
	// Follows: a client that goes where the answer says delivers nevertheless.
	Follows bool
	// Mend is what has to be changed.
	Mend Mend

	base   func() parts
	change func(*parts)
}

// Open makes a world with the hazard in place.
func (d Denial) Open(t testing.TB) *World {
	t.Helper()
	p := d.base()
	d.change(&p)
	return open(t, p, d.base())
}

// Setup names a sound destination.
type Setup string

// The sound destinations that hazards start from.
const (
	Role           Setup = "role"
	RoleWithKey    Setup = "role_with_kms"
	RoleWithACL    Setup = "role_with_acl"
	Classic        Setup = "classic"
	ClassicWithKey Setup = "classic_with_kms"
	ClassicWithACL Setup = "classic_with_acl"
)

var setups = map[Setup]func() parts{
	Role:           byRole,
	RoleWithKey:    func() parts { return withKey(byRole()) },
	RoleWithACL:    func() parts { return withACL(byRole()) },
	Classic:        classic,
	ClassicWithKey: func() parts { return withKey(classic()) },
	ClassicWithACL: func() parts { return withACL(classic()) },
}

// Setups are all Setups.
func Setups() []Setup {
	return []Setup{Role, RoleWithKey, RoleWithACL, Classic, ClassicWithKey, ClassicWithACL}
}

// Sound makes a world without a hazard.
func Sound(t testing.TB, s Setup) *World {
	t.Helper()
	p := setups[s]()
	return open(t, p, p)
}

// Denials are all hazards.
func Denials() []Denial {
	return slices.Concat(trustDenials(), stsDenials(), roleDenials(), bucketDenials(), policyDenials(), keyDenials(), classicDenials())
}

// assume and put are refusals of the two calls.
func assume(name string, mend Mend, status int, code, says string, change func(*parts)) Denial {
	return Denial{Name: name, Op: "AssumeRole", Status: status, Code: code, Says: says, Mend: mend, base: byRole, change: change}
}

func put(name string, mend Mend, status int, code, says string, change func(*parts)) Denial {
	d := assume(name, mend, status, code, says, change)
	d.Op = "PutObject"
	return d
}

// passes is a hazard that AWS has nothing against.
func passes(name string, mend Mend, change func(*parts)) Denial {
	return Denial{Name: name, Mend: mend, base: byRole, change: change}
}

// on is the hazard of another setup.
func (d Denial) on(s Setup) Denial {
	d.base = setups[s]
	d.Classic = s == Classic || s == ClassicWithKey || s == ClassicWithACL
	return d
}

func (d Denial) follows() Denial {
	d.Follows = true
	return d
}

// throttled answers with a fault.
func (d Denial) answers(f s3server.Fault) Denial {
	d.Status, d.Code, d.Says = f.Status, f.Code, f.Message
	return d
}
