package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Keys are the configuration keys of a connection, for Explain.
type Keys struct {
	CA      string // of the authorities
	Cert    string // of our own certificate; "": there is no such setting
	Address string // of the server's address
	Enable  string // what turns TLS on, such as "kafka.tls.enabled"
}

// Explain says why a handshake failed and which key to change; "" if err is not about the
// handshake.
func Explain(err error, k Keys) string {
	if hint := explainServerCertificate(err, k); hint != "" {
		return hint
	}
	var (
		plain  tls.RecordHeaderError
		remote *net.OpError
	)
	switch {
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("the server at %s does not speak TLS: correct the port, or turn %s off", k.Address, k.Enable)
	case errors.As(err, &remote) && remote.Op == "remote error": // a TLS alert, whose type is not exported
		return explainAlert(remote.Err.Error(), k)
	}
	return ""
}

// explainServerCertificate says why we reject the server's certificate.
func explainServerCertificate(err error, k Keys) string {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		other   *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf("the server's certificate is signed by an unknown authority: set %s to a PEM file with its CA certificate", k.CA)
	case errors.As(err, &host):
		return fmt.Sprintf("the server's certificate is for other names: use one of them in %s, or have it issued for this name", k.Address)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore):
		return fmt.Sprintf("a certificate of the server at %s is valid from %s only: correct the clock of this machine, or the certificate", k.Address, day(invalid.Cert.NotBefore))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return fmt.Sprintf("a certificate of the server at %s expired on %s: have it renewed there (or correct the clock of this machine)", k.Address, day(invalid.Cert.NotAfter))
	case errors.As(err, &invalid), errors.As(err, &other):
		return fmt.Sprintf("the server's certificate is not valid: have it reissued, for servers, by an authority in %s", k.CA)
	}
	return ""
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

// explainAlert says why the server rejects us, judged by its alert
// (https://www.rfc-editor.org/rfc/rfc8446#section-6.2). If it misses a client certificate, the
// alert depends on the implementation: OpenSSL sends certificate_required, Java bad_certificate.
func explainAlert(alert string, k Keys) string {
	switch {
	case !strings.Contains(alert, "certificate") && !strings.Contains(alert, "handshake failure"):
		return fmt.Sprintf("the server at %s rejects this TLS: it may require another version", k.Address)
	case k.Cert == "":
		return fmt.Sprintf("the server at %s requires a client certificate, for which there is no setting: turn that off there", k.Address)
	}
	return fmt.Sprintf("the server rejects our certificate, or requires one: set %s to one that is valid and signed by its authority, and %s to its key",
		k.Cert, strings.TrimSuffix(k.Cert, "cert_file")+"key_file")
}

// WithHint appends a hint to an error, unless it is "".
func WithHint(err error, hint string) error {
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, hint)
}

// ExplainingTransport appends what Explain says to the errors of a transport.
func ExplainingTransport(next http.RoundTripper, k Keys) http.RoundTripper {
	return &explainingTransport{next, k}
}

type explainingTransport struct {
	next http.RoundTripper
	keys Keys
}

// RoundTrip implements http.RoundTripper.
func (e *explainingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := e.next.RoundTrip(r)
	if err != nil {
		err = WithHint(err, Explain(err, e.keys))
	}
	return res, err
}

// CloseIdleConnections makes http.Client.CloseIdleConnections work.
func (e *explainingTransport) CloseIdleConnections() {
	if c, ok := e.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
