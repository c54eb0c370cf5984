package awstest

import (
	"slices"
	"testing"

	"github.com/sealift/sealift/pkg/s3server"
)

// Remedy is what has to be changed to make a destination work.
type Remedy string

// Values of Remedy. The comments say what is changed, and whose it is.
const (
	TrustPolicy    Remedy = "trust policy"    // the customer's role
	RolePolicy     Remedy = "role policy"     // the customer's role
	BucketPolicy   Remedy = "bucket policy"   // the customer's bucket
	BucketSetting  Remedy = "bucket setting"  // ownership, default encryption
	KeyPolicy      Remedy = "key policy"      // the customer's KMS key
	KeyState       Remedy = "key state"       // the customer's KMS key
	CatalogEntry   Remedy = "catalog"         // bucket, region, acl, server_side_encryption, expected_bucket_owner
	OperatorPolicy Remedy = "operator policy" // the operator's own identity policy
	OperatorKey    Remedy = "operator key"    // the operator's own credentials
	STSSetting     Remedy = "sts setting"     // regions of the operator's account
	Account        Remedy = "account"         // the customer, together with AWS
	Transport      Remedy = "transport"       // the operator: TLS, network
	Nothing        Remedy = "nothing"         // it passes by itself
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
	// Status and Code are AWS's answer, and MessagePart is part of its message.
	Status      int
	Code        string
	MessagePart string
	// FollowsRegion says that a client that follows the region in the answer delivers nevertheless.
	FollowsRegion bool
	// Remedy is what has to be changed.
	Remedy Remedy

	base   func() parts
	change func(*parts)
}

// Open opens a world with the hazard in place.
func (d Denial) Open(t testing.TB) *World {
	t.Helper()
	p := d.base()
	d.change(&p)
	return openWorld(t, p, d.base())
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
	Role:           roleParts,
	RoleWithKey:    func() parts { return withKey(roleParts()) },
	RoleWithACL:    func() parts { return withACL(roleParts()) },
	Classic:        classicParts,
	ClassicWithKey: func() parts { return withKey(classicParts()) },
	ClassicWithACL: func() parts { return withACL(classicParts()) },
}

// Setups returns all setups.
func Setups() []Setup {
	return []Setup{Role, RoleWithKey, RoleWithACL, Classic, ClassicWithKey, ClassicWithACL}
}

// OpenSound opens a world without a hazard.
func OpenSound(t testing.TB, s Setup) *World {
	t.Helper()
	p := setups[s]()
	return openWorld(t, p, p)
}

// Denials returns all hazards.
func Denials() []Denial {
	return slices.Concat(trustDenials(), stsDenials(), roleDenials(), bucketDenials(), policyDenials(), keyDenials(), classicDenials())
}

// refusedAssume and refusedPut return hazards in which that call is refused.
func refusedAssume(name string, remedy Remedy, status int, code, says string, change func(*parts)) Denial {
	return Denial{Name: name, Op: "AssumeRole", Status: status, Code: code, MessagePart: says, Remedy: remedy, base: roleParts, change: change}
}

func refusedPut(name string, remedy Remedy, status int, code, says string, change func(*parts)) Denial {
	d := refusedAssume(name, remedy, status, code, says, change)
	d.Op = "PutObject"
	return d
}

// allowedByAWS returns a hazard that AWS does not object to.
func allowedByAWS(name string, remedy Remedy, change func(*parts)) Denial {
	return Denial{Name: name, Remedy: remedy, base: roleParts, change: change}
}

// withSetup moves the hazard to another setup.
func (d Denial) withSetup(s Setup) Denial {
	d.base = setups[s]
	d.Classic = s == Classic || s == ClassicWithKey || s == ClassicWithACL
	return d
}

func (d Denial) withFollowsRegion() Denial {
	d.FollowsRegion = true
	return d
}

// withFault takes AWS's answer from a fault.
func (d Denial) withFault(f s3server.Fault) Denial {
	d.Status, d.Code, d.MessagePart = f.Status, f.Code, f.Message
	return d
}
