// Package certs reads the certificates that the configuration names, and explains TLS handshakes
// that fail because of them.
//
// It is for everything that opens connections to Kafka, Redis, S3 and STS, and for the collector's
// https server. It promises that every error names the configuration key of the file, or the key to
// change. Our own certificate is read again for every connection. Authorities are read once, so a
// change of them takes effect when the process restarts.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
)

// BundleEnv is the AWS SDK's variable that names the authorities of AWS's endpoints, for networks
// whose proxy intercepts TLS.
const BundleEnv = "AWS_CA_BUNDLE"

// Files are the files that a section of the configuration names; any may be "".
type Files struct {
	Section  string // such as kafka.tls; for errors
	CA       string // authorities; "": the system's
	Cert     string // our own certificate; requires Key
	Key      string
	Insecure bool // accept any certificate of the server
}

// Error says why the file that a key names cannot be used.
type Error struct {
	Key  string // of the configuration, or BundleEnv
	File string
	Err  error // names the file
}

func (e *Error) Error() string { return "read " + e.Key + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// TLS reads the files and returns client settings of at least TLS 1.2. The error names every file
// that cannot be used, with its key. A later change of our own certificate is reported to log, also
// if the new one cannot be used.
func (f Files) TLS(log *slog.Logger) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.Insecure} //nolint:gosec // the operator's own choice
	var caErr, pairErr error
	t.RootCAs, caErr = Roots(f.Section+".ca_file", f.CA)
	if f.Cert != "" || f.Key != "" {
		pair := &keyPair{files: f, log: log}
		_, pairErr = pair.load()
		t.GetClientCertificate = pair.forRequest
	}
	if err := errors.Join(caErr, pairErr); err != nil {
		return nil, err
	}
	return t, nil
}

// Server reads the files and returns the settings of a server of at least TLS 1.2, which presents
// our own certificate and does not ask clients for theirs; CA and Insecure are ignored. Errors and
// log are as for TLS.
func (f Files) Server(log *slog.Logger) (*tls.Config, error) {
	pair := &keyPair{files: f, log: log}
	if _, err := pair.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.current(), nil },
	}, nil
}

// Roots reads the authorities in the file that the key names. Without a file it returns nil, which
// stands for the system's.
func Roots(key, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	return addRoots(x509.NewCertPool(), key, file)
}

// ExtendRoots returns the authorities of base (nil: the system's) plus those in the file that the
// key names. base is not changed.
func ExtendRoots(base *x509.CertPool, key, file string) (*x509.CertPool, error) {
	if file == "" {
		return base, nil
	}
	if base != nil {
		return addRoots(base.Clone(), key, file)
	}
	system, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates, beside those of %s: %w", key, err)
	}
	return addRoots(system, key, file)
}

// Bundle reads the authorities that AWS_CA_BUNDLE names; nil if it is not set.
func Bundle() (*x509.CertPool, error) { return Roots(BundleEnv, os.Getenv(BundleEnv)) }

func addRoots(pool *x509.CertPool, key, file string) (*x509.CertPool, error) {
	text, err := readPEM(key, file, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Error{key, file, fmt.Errorf("%q: a certificate in it is broken: %w", file, err)}
		}
		pool.AddCert(c)
	}
	return pool, nil
}

// readPEM returns the content of a file, which must hold a PEM block of one of the kinds.
func readPEM(key, file string, kinds ...string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &Error{key, file, err}
	}
	found := ""
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		for _, kind := range kinds {
			if block.Type == kind {
				return text, nil
			}
		}
		found = block.Type
	}
	switch found {
	case "":
		return nil, &Error{key, file, fmt.Errorf("%q: it holds no PEM, which begins with -----BEGIN %s-----", file, kinds[0])}
	case "ENCRYPTED PRIVATE KEY":
		return nil, &Error{key, file, fmt.Errorf("%q: its key is encrypted; store it without a passphrase (openssl pkey -in FILE -out FILE), readable by this process alone", file)}
	}
	return nil, &Error{key, file, fmt.Errorf("%q: it holds a PEM %s, not a %s", file, found, kinds[0])}
}
