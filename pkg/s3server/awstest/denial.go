package awstest

import (
	"slices"
	"testing"

	"github.com/sealift/sealift/pkg/s3server"
)

// Mend is what has to be changed to make a destination work.
type Mend string

// Values of Mend. The comments say what is changed, and whose it is.
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
	Account        Mend = "account"         // the customer, together with AWS
	Transport      Mend = "transport"       // the operator: TLS, network
	Nothing        Mend = "nothing"         // it passes by itself
)

// Denial is a hazard, and AWS's answer to a delivery that meets it.
type Denial struct {
	// Name is the hazard's name.
	Name string
	// Classic says that the destination has no role.
	Classic bool
	// Op is the call that AWS refuses: AssumeRole or PutObject. It is "" if AWS allows the
	// delivery, and Sealift has to refuse it or warn.
	Op string
	// Status and Code are AWS's answer, and Says is part of its message.
	Status int
	Code   string
	Says   string
	// Follows says that a client that follows the region in the answer delivers nevertheless.
	Follows bool
	// Mend is what has to be changed.
	Mend Mend

	base   func() parts
	change func(*parts)
}

// Open opens a world with the hazard in place.
func (d Denial) Open(t testing.TB) *World {
	t.Helper()
	p := d.base()
	d.change(&p)
	return open(t, p, d.base())
}

// Setup names a sound destination, in which everything is right.
type Setup string

// The sound destinations that hazards are added to.
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

// Setups returns all setups.
func Setups() []Setup {
	return []Setup{Role, RoleWithKey, RoleWithACL, Classic, ClassicWithKey, ClassicWithACL}
}

// Sound opens a world without a hazard.
func Sound(t testing.TB, s Setup) *World {
	t.Helper()
	p := setups[s]()
	return open(t, p, p)
}

// Denials returns all hazards.
func Denials() []Denial {
	return slices.Concat(trustDenials(), stsDenials(), roleDenials(), bucketDenials(), policyDenials(), keyDenials(), classicDenials())
}

// assume and put return hazards in which that call is refused.
func assume(name string, mend Mend, status int, code, says string, change func(*parts)) Denial {
	return Denial{Name: name, Op: "AssumeRole", Status: status, Code: code, Says: says, Mend: mend, base: byRole, change: change}
}

func put(name string, mend Mend, status int, code, says string, change func(*parts)) Denial {
	d := assume(name, mend, status, code, says, change)
	d.Op = "PutObject"
	return d
}

// passes returns a hazard that AWS does not object to.
func passes(name string, mend Mend, change func(*parts)) Denial {
	return Denial{Name: name, Mend: mend, base: byRole, change: change}
}

// on moves the hazard to another setup.
func (d Denial) on(s Setup) Denial {
	d.base = setups[s]
	d.Classic = s == Classic || s == ClassicWithKey || s == ClassicWithACL
	return d
}

func (d Denial) follows() Denial {
	d.Follows = true
	return d
}

// answers takes AWS's answer from a fault.
func (d Denial) answers(f s3server.Fault) Denial {
	d.Status, d.Code, d.Says = f.Status, f.Code, f.Message
	return d
}
