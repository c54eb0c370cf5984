// Package pipetest lets a server listen without a network. It is only for tests, above all for those
// that run by synctest's clock, which the deadlines of in-memory connections follow.
//
// It promises that a connection that is sent to a Listener is accepted. It does not make the
// connections: net.Pipe does.
package pipetest

import "net"

// Listener is a listener of in-memory connections: who dials sends it the server's end of a pipe.
type Listener chan net.Conn

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	conn, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

// Close implements net.Listener.
func (l Listener) Close() error {
	close(l)
	return nil
}

// Addr implements net.Listener.
func (l Listener) Addr() net.Addr { return &net.TCPAddr{} }
