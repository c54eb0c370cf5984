package collector

import (
	"cmp"
	"net/http"
	"net/netip"
	"strings"
)

// lastHop returns a function that yields the addresses in X-Forwarded-For headers from the last to
// the first; it stops at anything that is not an address.
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

// requestedHost returns the host that the sender asked for. Behind a trusted proxy that is
// X-Forwarded-Host if it is set, the last one if there are several: nginx by default passes on a
// Host of its own.
func requestedHost(r *http.Request, trusted []netip.Prefix) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !contains(trusted, at.Addr().Unmap()) {
		return r.Host
	}
	hosts := strings.Join(r.Header.Values("X-Forwarded-Host"), ",")
	return cmp.Or(strings.TrimSpace(hosts[strings.LastIndexByte(hosts, ',')+1:]), r.Host)
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
