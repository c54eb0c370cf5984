package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/segmentio/kafka-go"

	"github.com/sealift/sealift/pkg/certs"
)

// hintingTransport is a transport whose errors name the configuration key to change, if brokers
// refuse the connection or the credentials.
type hintingTransport struct {
	kafka.RoundTripper
	tls, sasl bool // how it connects
}

// RoundTrip implements kafka.RoundTripper.
func (e *hintingTransport) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	res, err := e.RoundTripper.RoundTrip(ctx, addr, req)
	if err == nil {
		return res, nil
	}
	return res, certs.WithHint(err, e.hint(err))
}

var certKeys = certs.Keys{CA: "kafka.tls.ca_file", Cert: "kafka.tls.cert_file", Address: "kafka.brokers", Enable: "kafka.tls.enabled"}

func (e *hintingTransport) hint(err error) string {
	if why := certs.Explain(err, certKeys); why != "" {
		return why
	}
	switch {
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		return "user name or password rejected: correct kafka.sasl.username, kafka.sasl.password, or kafka.sasl.mechanism"
	case errors.Is(err, kafka.UnsupportedSASLMechanism):
		return "this port does not offer kafka.sasl.mechanism: use one from the broker's sasl.enabled.mechanisms"
	case errors.Is(err, kafka.IllegalSASLState):
		return "this port does not use SASL: correct the port in kafka.brokers, or remove kafka.sasl"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return e.hungUp()
	}
	var denied kafka.Error
	if errors.As(err, &denied) && (denied == kafka.ClusterAuthorizationFailed || denied == kafka.TopicAuthorizationFailed || denied == kafka.GroupAuthorizationFailed) {
		return "the user is authenticated but not authorized: add an ACL (kafka-acls.sh), or correct kafka.sasl.username"
	}
	return ""
}

// hungUp says why a broker may have closed the connection without an answer, as it does if the
// client does not use the protocol that the port requires.
func (e *hintingTransport) hungUp() string {
	const hint = "the broker closed the connection; if this persists, its port "
	switch {
	case !e.tls && !e.sasl:
		return hint + "requires TLS (kafka.tls.enabled) or SASL (kafka.sasl.mechanism)"
	case !e.tls:
		return hint + "requires TLS (kafka.tls.enabled)"
	case !e.sasl:
		return hint + "requires SASL (kafka.sasl.mechanism) or a certificate (kafka.tls.cert_file), or does not speak TLS (kafka.tls.enabled)"
	}
	return hint + "does not speak TLS (kafka.tls.enabled), requires a certificate (kafka.tls.cert_file), or rejects kafka.sasl.username with kafka.sasl.password"
}
