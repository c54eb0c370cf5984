// Command sealift is all of Sealift in one binary: every long-running role, the embedded system for
// trying it out, and the tools of operators and customers. It is for people and for process
// managers. It parses arguments, merges the configuration, handles signals and decides the exit
// code. The mechanisms themselves are in the packages below workers and pkg.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		first := <-signals
		cancel(interruptedError{first})
		<-signals
		fmt.Fprintln(os.Stderr, "sealift: second signal: stopping at once")
		os.Exit(exitInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
