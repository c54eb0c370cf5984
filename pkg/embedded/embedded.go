// Package embedded runs the two services that Sealift otherwise finds on the network, a broker with
// Kafka's protocol and a Redis, inside the process: for `sealift demo`, `sealift dev` and tests.
//
// It promises that what the broker acknowledged survives a kill -9 of the process, and that Redis
// keys expire by the clock. It does not promise to survive a power loss (batches are not fsynced),
// does not replicate, and does not authenticate. Redis loses everything when it stops, which the
// delivery protocol allows.
package embedded

import "net"

// withLoopbackHost completes an address. An empty host means 127.0.0.1, because neither service
// authenticates its callers.
func withLoopbackHost(addr string) (string, error) {
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
