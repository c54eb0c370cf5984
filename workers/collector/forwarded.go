package collector

import (
	"net/netip"
	"strings"
)

// lastHop returns a function that yields the addresses of X-Forwarded-For
// headers from the last to the first; it stops at what is no address.
func lastHop(headers []string) func() (netip.Addr, bool) {
	rest := strings.Join(headers, ",")
	return func() (netip.Addr, bool) {
		i := strings.LastIndexByte(rest, ',')
		hop := strings.TrimSpace(rest[i+1:])
		rest = rest[:max(i, 0)]
		if at, err := netip.ParseAddrPort(hop); err == nil {
			return at.Addr().Unmap(), true
		}
		addr, err := netip.ParseAddr(strings.Trim(hop, "[]"))
		return addr.Unmap(), err == nil
	}
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
