package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newHealthcheckCommand is for container images that contain nothing but this binary: no other
// program can be their health check.
func newHealthcheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "healthcheck",
		GroupID: groupSelf,
		Short:   "Ask the process on this machine whether it is ready",
		Long:    "Ask /readyz on the admin listener of the process that runs with the same configuration.\nIf that is ready, nothing is printed and the exit code is 0.",
		Example: "  sealift healthcheck --config sealift.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return healthcheck(cmd.Context(), a.cfg.Admin.Listen)
		},
	}
}

func healthcheck(ctx context.Context, listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("read admin.listen %q: %w", listen, err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	ready := "http://" + net.JoinHostPort(host, port) + "/readyz"
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ready, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", ready, err)
	}
	client := http.Client{Transport: &http.Transport{}} // without a proxy, which would be on another machine
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the URL, which is said already
	}
	if err != nil {
		return fmt.Errorf("ask %s: %w; does the process run, and is admin.listen here what it has?", ready, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	why, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("ask %s: %w", ready, err)
	}
	return fmt.Errorf("not ready: %s", strings.TrimSpace(string(why)))
}
