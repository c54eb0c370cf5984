// Package netguard prevents a destination's custom endpoint from reaching what it must not: the
// operator's own network, this machine, a cloud's metadata service. The customer names the
// endpoint, so it is an attacker's choice.
//
// It is for everything that connects to an endpoint from the catalog. It promises that requests are
// sent only over https to a public address, unless the operator listed the target in
// destinations.allowed_endpoints; that the address is checked when it is connected to, not only
// when its name is resolved; and that redirects are not followed and the environment's proxy is not
// used.
//
// It does not check AWS's own endpoints. Sealift chooses these itself, and they may well be private
// (interface VPC endpoints with private DNS). They need no guard.
package netguard

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/iam"
)

// ErrRefused matches every refusal. Trying again does not help: the catalog or
// destinations.allowed_endpoints must be changed.
var ErrRefused = errors.New("endpoint refused")

// refusal is an ErrRefused that says what is wrong and what to do.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return ErrRefused }

// RefusedEndpoint tells pkg/objstore that the request was not sent.
func (r *refusal) RefusedEndpoint() bool { return true }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// Allowed is what destinations.allowed_endpoints permits.
//
//   - host:port permits plain http to it, and a name that resolves to a loopback, private or shared
//     address. If it is the name of an AWS interface endpoint,
//     bucket.vpce-….vpce.amazonaws.com:443, this includes the names of buckets before it.
//   - ip:port and CIDR permit plain http to these addresses, and also addresses that are otherwise
//     never connected to: link-local (metadata services), multicast and reserved ones.
type Allowed struct {
	names    map[string]bool // lower-case "host:port"
	targets  map[netip.AddrPort]bool
	networks []netip.Prefix
}

// ParseAllowed parses the entries of destinations.allowed_endpoints. The error names every invalid
// one.
func ParseAllowed(entries []string) (Allowed, error) {
	a := Allowed{names: map[string]bool{}, targets: map[netip.AddrPort]bool{}}
	var problems []error
	for _, entry := range entries {
		if err := a.add(strings.TrimSpace(entry)); err != nil {
			problems = append(problems, err)
		}
	}
	return a, errors.Join(problems...)
}

func (a *Allowed) add(entry string) error {
	bad := func(why string) error {
		return fmt.Errorf("destinations.allowed_endpoints: %q: %s; want host:port (minio.internal:9000) or a CIDR (10.20.0.0/16)", entry, why)
	}
	if strings.Contains(entry, "://") {
		return bad("a URL")
	}
	if strings.Contains(entry, "/") {
		network, err := netip.ParsePrefix(entry)
		if err != nil {
			return bad("not a CIDR")
		}
		if network.Addr().Is4In6() {
			return bad("an IPv4 network in IPv6 form")
		}
		a.networks = append(a.networks, network.Masked())
		return nil
	}
	host, port, err := net.SplitHostPort(entry)
	if err != nil || host == "" {
		return bad("no host and port")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return bad("not a port")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		a.targets[netip.AddrPortFrom(ip.Unmap().WithZone(""), uint16(number))] = true
		return nil
	}
	a.names[net.JoinHostPort(strings.ToLower(strings.TrimSuffix(host, ".")), port)] = true
	return nil
}

// isListedName reports whether the host:port was listed by name. The name of an AWS interface
// endpoint includes those with a bucket's name before it, because AWS decides which addresses these
// have. Other names do not: the customer chooses the bucket, and could thereby choose among the
// operator's hosts.
func (a Allowed) isListedName(host, port string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if a.names[net.JoinHostPort(host, port)] {
		return true
	}
	_, endpoint, _ := strings.Cut(host, ".")
	name, isAWS := iam.CutDomain(endpoint)
	return isAWS && interfaceEndpoint.MatchString(name) && a.names[net.JoinHostPort(endpoint, port)]
}

// interfaceEndpoint matches a name such as bucket.vpce-1a2b-3c4d.s3.eu-west-1.vpce.amazonaws.com
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/privatelink-interface-endpoints.html),
// without AWS's domain.
var interfaceEndpoint = regexp.MustCompile(`^bucket\.vpce-[a-z0-9-]+\.s3\.[a-z0-9-]+\.vpce$`)

// isListedAddress reports whether the address was listed, by itself or by its network.
func (a Allowed) isListedAddress(target netip.AddrPort) bool {
	ip := target.Addr().Unmap().WithZone("")
	if a.targets[netip.AddrPortFrom(ip, target.Port())] {
		return true
	}
	for _, network := range a.networks {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// Check judges a destination's endpoint as written, without resolving its name: the addresses are
// judged when connecting. The error matches ErrRefused, or names an invalid entry of allowed.
func Check(endpoint string, allowed []string) error {
	a, err := ParseAllowed(allowed)
	if err != nil {
		return err
	}
	return a.Check(endpoint)
}

// Check is the function Check with a parsed list.
func (a Allowed) Check(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return refuse("endpoint %q: not a URL; write https://host or https://host:port", endpoint)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse("endpoint %q: scheme %q; write https://host or https://host:port", endpoint, u.Scheme)
	case u.User != nil:
		return refuse("endpoint %q: holds a user name or password; remove it, requests are signed", u.Redacted())
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return refuse("endpoint %q: holds a path or a query; write only scheme, host and port, the bucket has its own field", endpoint)
	}
	return a.checkURL(u)
}

// checkURL judges the scheme, host and port of a URL.
func (a Allowed) checkURL(u *url.URL) error {
	host, port := u.Hostname(), portOf(u)
	endpoint := (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() // without the key of a request
	number, err := strconv.ParseUint(port, 10, 16)
	if host == "" || err != nil || number == 0 {
		return refuse("endpoint %q: no host, or not a port; write https://host or https://host:port", endpoint)
	}
	byName, byAddress := a.isListedName(host, port), false
	if ip, err := netip.ParseAddr(host); err == nil {
		target := netip.AddrPortFrom(ip, uint16(number))
		if err := a.checkAddress(target, false); err != nil {
			return err
		}
		byAddress = a.isListedAddress(target)
	} else if !byName && isLocalName(host) {
		return refuse("endpoint %q: %s is this machine; if it is meant, add %q to destinations.allowed_endpoints",
			endpoint, host, net.JoinHostPort(host, port))
	}
	if u.Scheme != "https" && !byName && !byAddress {
		return refuse("endpoint %q: plain http; use https, or add %q to destinations.allowed_endpoints",
			endpoint, net.JoinHostPort(host, port))
	}
	return nil
}

// checkAddress judges an address. byName says that the operator listed the name that resolved to
// it.
func (a Allowed) checkAddress(target netip.AddrPort, byName bool) error {
	reach, what := classify(target.Addr())
	switch {
	case reach == public, a.isListedAddress(target), reach == internal && byName:
		return nil
	case reach == internal:
		return refuse("endpoint address %s is %s; if it is meant, add %q or its CIDR to destinations.allowed_endpoints",
			target, what, target)
	}
	return refuse("endpoint address %s is %s; only destinations.allowed_endpoints with this very address (%q) or its CIDR permits it",
		target, what, target)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

func isLocalName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// Client returns a client for endpoints that customers chose. Every connection is judged, redirects
// are not followed, the environment's proxy is not used, responses are not decompressed, and TLS is
// at least 1.2, with servers signed by roots (nil: the system's). One client serves all
// destinations. It is safe for concurrent use.
//
// Invalid entries of allowed permit nothing; ParseAllowed reports them.
func Client(allowed []string, roots *x509.CertPool) *http.Client {
	a, _ := ParseAllowed(allowed) // reported when the configuration is checked; here they only permit less
	return a.client(&net.Resolver{}, roots)
}
