// Package embedded runs the two services that Sealift otherwise finds on the
// network, a Kafka-protocol broker and a Redis, inside the process: for
// `sealift demo`, `sealift dev` and tests.
//
// It promises that what the broker acknowledged survives a kill -9 of the
// process and that Redis' keys expire by the clock. It does not promise to
// survive a power loss (nothing is fsynced per batch), it does not replicate,
// it does not authenticate, and Redis forgets everything at its end, which
// the delivery protocol allows.
package embedded

import "net"

// loopback completes an address: an empty host means 127.0.0.1, because
// neither service asks who is calling.
func loopback(addr string) (string, error) {
	if addr == "" {
		addr = ":0"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
