package netguard

import "net/netip"

// reachability says how an address may be connected to.
type reachability int

const (
	public    reachability = iota
	internal               // loopback, private, shared: the operator may list a name for it
	forbidden              // link-local, metadata, multicast, reserved: only if the address itself is listed
)

type network struct {
	prefix netip.Prefix
	reach  reachability
	what   string
}

// networks are the special-purpose addresses of the IANA registries
// https://www.iana.org/assignments/iana-ipv4-special-registry and
// https://www.iana.org/assignments/iana-ipv6-special-registry. Narrow networks come before the
// wider ones that contain them.
var networks = []network{
	{netip.MustParsePrefix("0.0.0.0/8"), forbidden, `"this network"`},
	{netip.MustParsePrefix("10.0.0.0/8"), internal, "private"},
	{netip.MustParsePrefix("100.100.100.200/32"), forbidden, "a cloud's metadata service"}, // Alibaba
	{netip.MustParsePrefix("100.64.0.0/10"), internal, "shared (CGNAT)"},
	{netip.MustParsePrefix("127.0.0.0/8"), internal, "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), forbidden, "link-local (a cloud's metadata service lives there)"},
	{netip.MustParsePrefix("168.63.129.16/32"), forbidden, "a cloud's metadata service"}, // Azure
	{netip.MustParsePrefix("172.16.0.0/12"), internal, "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), forbidden, "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), forbidden, "for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), forbidden, "reserved (6to4 relay)"},
	{netip.MustParsePrefix("192.168.0.0/16"), internal, "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), internal, "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), forbidden, "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), forbidden, "for documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), forbidden, "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), forbidden, "reserved or broadcast"},

	{netip.MustParsePrefix("::1/128"), internal, "loopback"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), forbidden, "a cloud's metadata service"}, // AWS
	{netip.MustParsePrefix("fd20:ce::254/128"), forbidden, "a cloud's metadata service"},  // Google
	{netip.MustParsePrefix("fc00::/7"), internal, "private (ULA)"},
	{netip.MustParsePrefix("fe80::/10"), forbidden, "link-local"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), forbidden, "local-use NAT64"},
	{netip.MustParsePrefix("2001::/23"), forbidden, "reserved (Teredo and others)"},
	{netip.MustParsePrefix("2001:db8::/32"), forbidden, "for documentation"},
	{netip.MustParsePrefix("3fff::/20"), forbidden, "for documentation"},
	{netip.MustParsePrefix("ff00::/8"), forbidden, "multicast"},
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // the IPv4 address is its last 4 bytes
	sixTo4 = netip.MustParsePrefix("2002::/16")    // the IPv4 address is bytes 2 to 5
	global = netip.MustParsePrefix("2000::/3")     // all global unicast addresses of IPv6
)

// classify judges an address, or the IPv4 address that an IPv6 address contains.
func classify(ip netip.Addr) (reachability, string) {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return forbidden, "not an address"
	}
	if b := ip.As16(); nat64.Contains(ip) {
		return classify(netip.AddrFrom4([4]byte(b[12:16])))
	} else if sixTo4.Contains(ip) {
		return classify(netip.AddrFrom4([4]byte(b[2:6])))
	}
	for _, n := range networks {
		if n.prefix.Contains(ip) {
			return n.reach, n.what
		}
	}
	if ip.Is6() && !global.Contains(ip) {
		return forbidden, "not global unicast"
	}
	return public, ""
}
