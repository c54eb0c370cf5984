package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/sealift/sealift/pkg/certs"
	"github.com/sealift/sealift/pkg/config"
)

// certificates are read from the files that the configuration names. nil means plain TCP for Kafka,
// what its URL says for Redis, and the system's authorities for the others.
type certificates struct {
	kafka, redis               *tls.Config
	staging, sts, destinations *x509.CertPool
}

// readCertificates reads all certificate files. The error names every file that cannot be used, and
// its key.
func readCertificates(cfg config.Config, log *slog.Logger) (c certificates, err error) {
	var wrong [6]error
	if cfg.Kafka.TLS.Enabled {
		c.kafka, wrong[0] = certFiles("kafka.tls", cfg.Kafka.TLS).TLS(log)
	}
	if cfg.Redis.UsesTLS() {
		c.redis, wrong[1] = certFiles("redis.tls", cfg.Redis.TLS).TLS(log)
	}
	var bundle *x509.CertPool
	bundle, wrong[2] = certs.Bundle()
	c.staging, wrong[3] = certs.Roots("staging.ca_file", cfg.Staging.CAFile)
	c.sts, wrong[4] = certs.Roots("sts.ca_file", cfg.STS.CAFile)
	c.destinations, wrong[5] = certs.ExtendRoots(bundle, "destinations.ca_file", cfg.Destinations.CAFile)
	if c.staging == nil {
		c.staging = bundle
	}
	if c.sts == nil {
		c.sts = bundle
	}
	return c, errors.Join(wrong[:]...)
}

// checkCollectorCertificate returns what is wrong with the collector's own certificate. The
// collector reads it itself, but not before the services answer.
func checkCollectorCertificate(cfg config.Config, log *slog.Logger) error {
	t := cfg.Collector.TLS
	if t.CertFile == "" {
		return nil
	}
	_, err := certs.Files{Section: "collector.tls", Cert: t.CertFile, Key: t.KeyFile}.Server(log)
	return err
}

func certFiles(section string, t config.TLS) certs.Files {
	return certs.Files{Section: section, CA: t.CAFile, Cert: t.CertFile, Key: t.KeyFile, Insecure: t.InsecureSkipVerify}
}

// explainTLSErrors makes the client's errors name the keys of a section, and returns the client.
func explainTLSErrors(client *http.Client, section string) *http.Client {
	keys := certs.Keys{CA: section + ".ca_file (or " + certs.BundleEnv + ")", Address: section + ".endpoint", Enable: "https in " + section + ".endpoint"}
	if section == "destinations" { // each names its own endpoint, in the catalog
		keys.Address, keys.Enable = "the destination's endpoint", "https in the destination's endpoint"
	}
	client.Transport = certs.ExplainingTransport(client.Transport, keys)
	return client
}

// warnUnprotected warns of connections that others on the network can read.
func warnUnprotected(cfg config.Config, log *slog.Logger) {
	for _, s := range []struct {
		on  bool
		key string
	}{
		{cfg.Kafka.TLS.Enabled && cfg.Kafka.TLS.InsecureSkipVerify, "kafka.tls.insecure_skip_verify"},
		{cfg.Redis.UsesTLS() && cfg.Redis.TLS.InsecureSkipVerify, "redis.tls.insecure_skip_verify"},
		{cfg.Kafka.SASL.AllowPlaintext && !cfg.Kafka.TLS.Enabled && cfg.Kafka.SASL.Mechanism == "plain", "kafka.sasl.allow_plaintext"},
	} {
		if s.on {
			log.Warn("connection is not protected: a man in the middle can read it", "key", s.key)
		}
	}
}

// checkBucketNamed refuses the default name of the staging bucket at AWS: that bucket may be a
// stranger's, who would then get customers' data. Collectors do not use it.
func checkBucketNamed(cfg config.Config, roles []string) error {
	if !cfg.DefaultBucketOnAWS() || slices.Equal(roles, []string{collectorRole}) {
		return nil
	}
	return fmt.Errorf("%w: staging.bucket: it is not set, and %q is a bucket that anybody at AWS may own; name your own (or set staging.endpoint, for a server that is not AWS)",
		config.ErrInvalid, cfg.Staging.Bucket)
}
