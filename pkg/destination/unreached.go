package destination

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/transport"
)

// judgeUnreached judges that there was no answer at all. address is the fix for a wrong address, and
// authorities the key that names a file of certificate authorities to trust.
func judgeUnreached(err error, address, authorities string) Verdict {
	v := func(reason, cause, hint string) Verdict {
		return TransientVerdict(ScopeDestination, reason, fmt.Sprintf("%s: %v", cause, err), hint)
	}
	var (
		lookup    *net.DNSError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		timeout   net.Error
	)
	if fix := transport.ProxyFix(err); fix != "" {
		return v("proxy", "this process's proxy does not work", fix)
	}
	switch {
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return v("dns", fmt.Sprintf("no host has the name %s", lookup.Name), address)
	case errors.As(err, &lookup):
		return v("dns", "this host's DNS does not answer", "check this host's DNS")
	case errors.As(err, &host):
		return v("tls", "the server's certificate is for another name", address+": its host must be one that the certificate names")
	case errors.As(err, &invalid):
		return v("tls", "the server's certificate is not valid", "have the server's certificate renewed, and check this host's clock")
	case errors.As(err, &authority):
		return v("tls", "the server's certificate is of an authority that this host does not trust",
			"add the authority to the file of "+authorities+" or to this host's: that of the server, or of a proxy on the way that opens TLS connections")
	case errors.As(err, &record) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return v("tls", "the server does not speak TLS", "write endpoint with http://, and list it in destinations.allowed_endpoints if that is meant")
	case strings.Contains(err.Error(), "malformed HTTP response"):
		return v("tls", "the server does not speak plain HTTP", "write endpoint with https://")
	case errors.Is(err, syscall.ECONNREFUSED):
		return v("unreachable", "nothing listens there", address+", or start the server")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return v("unreachable", "this host has no route there", "check this host's network and firewall")
	case errors.As(err, &timeout) && timeout.Timeout():
		return v("timeout", "no answer in time", "check firewalls and security groups between this host and the server")
	}
	return v("unavailable", "the connection broke", "check the network between this host and the server")
}

// addressOf is the fix for a wrong address of t.
func addressOf(t catalog.Target) string {
	switch {
	case t.Endpoint == "":
		return "check region in the catalog and this host's DNS"
	case t.PathStyle != nil && !*t.PathStyle:
		return "correct endpoint in the catalog, or set path_style: true, if that server has no host name for each bucket"
	}
	return "correct endpoint in the catalog"
}
