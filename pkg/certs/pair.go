package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// keyPair is our own certificate and key, kept up to date with their files. The files are read for
// every handshake that needs them, and compared by content. So the next connection uses new ones,
// however they were replaced: by a rename, a switched symlink, or a write in place.
type keyPair struct {
	files Files
	log   *slog.Logger

	mu        sync.Mutex // guards all below
	cert, key []byte     // PEM of good
	good      *tls.Certificate
	warned    string // what is wrong with the files, as last logged; "": nothing
}

// load reads the files, and uses them if they have changed.
func (p *keyPair) load() (changed bool, err error) {
	certKey, keyKey := p.files.Section+".cert_file", p.files.Section+".key_file"
	cert, certErr := readPEM(certKey, p.files.Cert, "CERTIFICATE")
	key, keyErr := readPEM(keyKey, p.files.Key, "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
	if err := errors.Join(certErr, keyErr); err != nil {
		return false, err
	}
	if bytes.Equal(cert, p.cert) && bytes.Equal(key, p.key) {
		return false, nil
	}
	good, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, &Error{certKey, p.files.Cert, fmt.Errorf("use %q with %s %q: %w", p.files.Cert, keyKey, p.files.Key, err)}
	}
	p.cert, p.key, p.good = cert, key, &good
	return true, nil
}

// current returns the pair in the files. If it cannot be used, for example while only one of the
// files has been written, it returns the last good one; that is logged once.
func (p *keyPair) current() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed, err := p.load()
	if err == nil {
		p.warned = ""
	} else if err.Error() != p.warned {
		p.warned = err.Error()
		p.log.Warn("new certificate is not used, the old one stays", "key", p.files.Section+".cert_file", "expires", p.good.Leaf.NotAfter, "err", err)
	}
	if changed {
		p.log.Info("new certificate is used", "key", p.files.Section+".cert_file", "expires", p.good.Leaf.NotAfter)
	}
	return p.good
}

// forRequest answers a server's request for a certificate. Like crypto/tls with a fixed pair, it
// sends none if the server would not accept it.
func (p *keyPair) forRequest(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if own := p.current(); r.SupportsCertificate(own) == nil {
		return own, nil
	}
	return &tls.Certificate{}, nil
}
