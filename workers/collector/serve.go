package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/sealift/sealift/pkg/certs"
)

// maxHeaderBytes bounds a request's header; a pixel's query holds an event.
const maxHeaderBytes = 64 << 10 // 64 KiB

// maxHeaders is more than browsers, SDKs and proxies send together. Each header costs some 200
// bytes, whatever its length, for as long as the body is awaited.
const maxHeaders = 100

// maxStreams bounds the concurrent requests of one HTTP/2 connection. More are refused; a client
// that keeps opening and cancelling streams is disconnected when four times as many wait.
const maxStreams = 128

// Run listens and serves until ctx ends, and for Config.DrainDelay after that. Then it accepts no
// more requests, finishes those in flight within Config.Drain, and returns nil.
func (c *Collector) Run(ctx context.Context) (err error) {
	defer c.cut()
	if c.deps.Spool != nil {
		defer func() { err = errors.Join(err, c.deps.Spool.Close(), c.deps.Letters.Close()) }()
	}
	server := c.server()
	serve := server.Serve
	if c.cfg.CertFile != "" {
		files := certs.Files{Section: "collector.tls", Cert: c.cfg.CertFile, Key: c.cfg.KeyFile}
		if server.TLSConfig, err = files.Server(c.deps.Log); err != nil {
			return err
		}
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.cfg.Listen)
	if err != nil {
		hint := ""
		if errors.Is(err, syscall.EADDRINUSE) {
			hint = "; stop what listens there, or choose another address, like --set collector.listen=:8081"
		}
		return fmt.Errorf("listen on collector.listen %q: %w%s", c.cfg.Listen, err, hint)
	}
	addr := listener.Addr().String()
	c.addr.Store(&addr)
	c.deps.Log.Info("collector listens", "addr", addr, "topic", c.cfg.Topic, "tls", c.cfg.CertFile != "")
	stopUnspooling := c.startUnspooling(ctx)
	defer stopUnspooling()
	served := make(chan error, 1)
	go func() { served <- serve(netutil.LimitListener(listener, c.cfg.MaxConnections)) }()
	select {
	case err := <-served:
		c.cut()
		return fmt.Errorf("serve collector.listen %q: %w", c.cfg.Listen, err)
	case <-ctx.Done():
	}
	c.drain(ctx, server, stopUnspooling)
	<-served
	return nil
}

// startUnspooling starts to empty the spools. The returned function tells that to stop, and waits
// until it has.
func (c *Collector) startUnspooling(ctx context.Context) (end func()) {
	if c.deps.Spool == nil {
		return func() {}
	}
	start := func(unspool func(stopping, cut context.Context)) (end func()) {
		stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() { defer close(done); unspool(stopping, c.base) }()
		return func() { stop(); <-done }
	}
	events, letters := start(c.unspoolEvents), start(c.unspoolLetters)
	return func() { events(); letters() } // events may become letters
}

func (c *Collector) server() *http.Server {
	return &http.Server{
		Handler:           c.Handler(),
		ReadHeaderTimeout: c.cfg.HeaderTimeout,
		ReadTimeout:       c.cfg.BodyTimeout,
		WriteTimeout:      c.writeTimeout(),
		IdleTimeout:       c.cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(c.deps.Log.Handler(), slog.LevelDebug),
	}
}

// writeTimeout is the time for reading the rest of a request and answering it.
func (c *Collector) writeTimeout() time.Duration {
	return c.cfg.BodyTimeout + c.cfg.AnswerWithin + 10*time.Second
}

// drain shuts down, in this order: 1. readiness  2. intake  3. requests  4. what Kafka's client
// still holds of requests already answered  5. the spool, as far as Kafka accepts what is in it.
func (c *Collector) drain(ctx context.Context, server *http.Server, stopUnspooling func()) {
	start := time.Now()
	c.draining.Store(true)
	if c.cfg.DrainDelay > 0 {
		c.deps.Log.Info("draining: /readyz answers 503, requests are still taken", "for", c.cfg.DrainDelay)
		select {
		case <-time.After(c.cfg.DrainDelay):
		case <-c.base.Done():
		}
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Drain)
	defer cancel()
	if err := server.Shutdown(bounded); err != nil {
		_ = server.Close() // cuts off what is left
	}
	idle := c.gate.close()
	select {
	case <-idle:
	case <-bounded.Done():
		c.cut()
		<-idle
	}
	defer context.AfterFunc(bounded, c.cut)()
	stopUnspooling()
	c.deps.Log.Info("collector drained", "took", time.Since(start), "in_time", bounded.Err() == nil)
}
