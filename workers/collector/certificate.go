package collector

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
)

// certificateEvery is about how often the files of a certificate are looked at.
const certificateEvery = time.Second

// certificate is a certificate and its key that follow their files. They are
// compared by content: whatever replaces them, a rename, a symlink that is
// switched, a write in place, is seen.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	pair              atomic.Pointer[tls.Certificate]
	cert, key         []byte // as they were tried last; of the goroutine that follows
}

func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if _, err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// load takes the files if they have changed since they were tried last.
func (c *certificate) load() (changed bool, err error) {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return false, fmt.Errorf("read collector.tls.cert_file: %w", err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return false, fmt.Errorf("read collector.tls.key_file: %w", err)
	}
	if bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return false, nil
	}
	c.cert, c.key = cert, key
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("use collector.tls.cert_file %q with collector.tls.key_file %q: %w", c.certFile, c.keyFile, err)
	}
	c.pair.Store(&pair)
	return true, nil
}

// follow takes up what the files become until ctx ends. A pair that cannot be
// used, as while only one of its files is written, changes nothing, and is
// logged once.
func (c *certificate) follow(ctx context.Context) {
	logged := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(certificateEvery/2 + jitter.N(certificateEvery)):
		}
		changed, err := c.load()
		switch {
		case err != nil:
			if err.Error() != logged {
				logged = err.Error()
				c.log.ErrorContext(ctx, "new certificate is not used, the old one stays", "err", err)
			}
			continue
		case changed:
			c.log.InfoContext(ctx, "new certificate is used", "file", c.certFile, "expires", c.pair.Load().Leaf.NotAfter)
		}
		logged = ""
	}
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil },
	}
}
