// Package certtest issues certificates for tests: authorities, and certificates signed by them for
// servers and clients on this machine. It writes PEM files, as operators have them. It is only for
// tests, because it does not protect its keys.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// CA is an authority.
type CA struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	File string // holds its certificate
}

// NewCA makes an authority with its files in a directory of the test.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	ca := &CA{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-240 * time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	ca.cert, ca.key = template, nil
	der, key := ca.sign(template)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	ca.cert, ca.key = cert, key
	ca.File = ca.write("ca.pem", "CERTIFICATE", der)
	return ca
}

// Pair is a certificate and its key, as files.
type Pair struct{ Cert, Key string }

// Issue signs a certificate for 127.0.0.1 and localhost, for servers and clients, unless change
// modifies it.
func (ca *CA) Issue(name string, change func(*x509.Certificate)) Pair {
	ca.t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(template)
	}
	der, key := ca.sign(template)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(ca.t, err)
	return Pair{Cert: ca.write(name+".pem", "CERTIFICATE", der), Key: ca.write(name+"-key.pem", "PRIVATE KEY", pkcs8)}
}

// sign makes a key and a certificate for it. The authority's first certificate is signed by itself.
func (ca *CA) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(ca.t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(ca.t, err)
	signer := ca.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), signer)
	require.NoError(ca.t, err)
	return der, key
}

func (ca *CA) write(name, kind string, der []byte) string {
	ca.t.Helper()
	path := filepath.Join(ca.dir, name)
	require.NoError(ca.t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}
