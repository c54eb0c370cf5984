package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/s3server"
)

// Each of these scripts has its own Kafka, Redis, and S3 with STS. The catalog in its catalog.yaml
// is applied, and the buckets and roles that it names exist. The endpoint S3 stands for the
// server's URL. Each line of its file faults, if there is one, is METHOD PART-OF-THE-URI STATUS
// CODE MESSAGE, and says how such requests are answered.
func TestScriptsWithDestinations(t *testing.T) {
	scripts(t, "testdata/destinations", func(env *testscript.Env) error {
		log := slog.New(slog.DiscardHandler)
		s, err := startStack(stackConfig{dir: env.WorkDir + "/stack"}, log)
		if err != nil {
			return err
		}
		env.Defer(func() { require.NoError(t, s.close()) })
		cfg := config.Default()
		s.configure(&cfg)
		for k, v := range map[string]string{
			"SEALIFT_KAFKA_BROKERS": cfg.Kafka.Brokers[0], "SEALIFT_REDIS_URL": cfg.Redis.URL.Reveal(), "SEALIFT_STS_ENDPOINT": cfg.STS.Endpoint,
			"SEALIFT_STAGING_ENDPOINT": cfg.Staging.Endpoint, "SEALIFT_STAGING_FORCE_PATH_STYLE": "true", "SEALIFT_STAGING_REGION": cfg.Staging.Region,
			"SEALIFT_DESTINATIONS_ALLOWED_ENDPOINTS": strings.Join(cfg.Destinations.AllowedEndpoints, ","),
			"AWS_ACCESS_KEY_ID":                      s.key.AccessKeyID, "AWS_SECRET_ACCESS_KEY": s.key.SecretAccessKey.Reveal(), "S3": s.s3URL,
		} {
			env.Setenv(k, v)
		}
		workspaces, err := expandCatalogs(env.WorkDir, s.s3URL)
		if err != nil {
			return err
		}
		snapshot, err := catalog.NewSnapshot(workspaces)
		if err != nil {
			return err
		}
		svc, err := openServices(cfg, s.credentials, false, log, nil)
		if err != nil {
			return err
		}
		ctx := context.Background()
		return errors.Join(
			s.s3.PutBucket(s3server.Bucket{Name: cfg.Staging.Bucket}), s.provision(snapshot), setFaults(s.s3, env.WorkDir+"/faults"),
			svc.kafka.EnsureTopics(ctx, true, svc.topics()...), writeWorkspaces(ctx, svc, workspaces), svc.close())
	})
}

// expandCatalogs puts the server's URL into all YAML files, and reads
// catalog.yaml.
func expandCatalogs(dir, s3URL string) ([]catalog.Workspace, error) {
	files, err := filepath.Glob(dir + "/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(b), "endpoint: S3", "endpoint: "+s3URL)), 0o600); err != nil {
			return nil, err
		}
	}
	return loadCatalog(config.Config{}, dir+"/catalog.yaml")
}

// writeWorkspaces writes the catalog's records.
func writeWorkspaces(ctx context.Context, s *services, workspaces []catalog.Workspace) error {
	values := map[string][]byte{}
	for _, w := range workspaces {
		values[w.ID] = catalog.Encode(w)
	}
	return (&catalogTopic{s}).write(ctx, values)
}

func setFaults(server *s3server.Server, name string) error {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	type rule struct {
		method, part string
		fault        s3server.Fault
	}
	var rules []rule
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.SplitN(lines.Text(), " ", 5)
		status, err := strconv.Atoi(w[min(2, len(w)-1)])
		if err != nil || len(w) < 5 {
			return fmt.Errorf("%s: %q", name, lines.Text())
		}
		rules = append(rules, rule{w[0], w[1], s3server.Fault{Status: status, Code: w[3], Message: w[4]}})
	}
	server.SetFault(func(r *http.Request) s3server.Fault {
		for _, rule := range rules {
			if r.Method == rule.method && strings.Contains(cmp.Or(r.RequestURI, r.URL.Path), rule.part) {
				return rule.fault
			}
		}
		return s3server.Fault{}
	})
	return nil
}
