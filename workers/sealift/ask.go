package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/sealift/sealift/pkg/progress"
)

// confirm asks on a terminal whether to do what cannot be undone. A no is an error with the text
// undone. Where nobody can be asked, it is done.
func (a *app) confirm(ctx context.Context, question, undone string) error {
	if !progress.IsTerminal(a.stdin) {
		return nil
	}
	yes, err := askYesNo(ctx, a.stderr, bufio.NewReader(a.stdin), question)
	if err == nil && !yes {
		return partialError(undone)
	}
	return err
}

// askYesNo asks a question. Any answer but y, Y or yes means no.
func askYesNo(ctx context.Context, out io.Writer, in *bufio.Reader, question string) (bool, error) {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		line, _ := in.ReadString('\n') // at EOF there is no newline, and the answer counts as no
		answer <- line
	}()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case line := <-answer:
		return line == "y\n" || line == "Y\n" || line == "yes\n", nil
	}
}
