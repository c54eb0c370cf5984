package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/porttest"
)

// servers are what a system runs on: the embedded servers or real ones.
type servers struct {
	kafka      string // host:port, comma-separated if several
	redis      string // URL
	s3         string // URL, also of STS
	access     string
	secret     string
	region     string
	makeBucket func(name string) error
	// makeRole creates a role that anybody who knows the external id may assume, to put objects
	// into the bucket.
	makeRole func(arn, externalID, bucket string)
	anyTrust bool // its STS ignores external ids
	// envOf is additional environment for a role's processes; nil: none.
	envOf func(role string) []string
}

// destination is one bucket in the test's catalog.
type destination struct {
	name, bucket, prefix string
	role                 string // ARN; "": a classic bucket
	sources              []string
	disabled             bool
}

// workspace is one customer of the test's catalog.
type workspace struct {
	id           string
	sources      []string
	destinations []*destination
}

// system is all roles of one Sealift, as processes.
type system struct {
	t          *testing.T
	servers    servers
	dir        string // configurations, logs and the appenders' disks
	tag        string // makes topics and buckets unique to this run
	workspaces []workspace
	fleet      fleet
	collectors []*process
	appenders  []*process
	copiers    []*process
	auditors   []*process
	listen     []string // addresses of the collectors
}

// fleet says how many processes of each role there are, and what is in their sections of the
// configuration.
type fleet struct {
	collectors, appenders, copiers, auditors int
	collector, appender, copier, auditor     string // flow mappings without their braces
}

const (
	systemPartitions = 8
	readyWithin      = 60 * time.Second
	drainWithin      = 45 * time.Second
)

// writeKey returns the write key of a source.
func writeKey(source string) string { return "wk_" + source }

// newSystem declares a catalog of three customers with that many sources: one with a role, of whose
// sources some also go to a second, classic bucket; one with a role and a key prefix; and one with
// a classic bucket.
func newSystem(t *testing.T, on servers, sources int, of fleet) *system {
	t.Helper()
	tag := fmt.Sprintf("%x", time.Now().UnixNano()&0xffffffffff)
	s := &system{t: t, servers: on, dir: t.ArtifactDir(), tag: tag, fleet: of}
	for w := range 3 {
		ws := workspace{id: fmt.Sprintf("ws_e2e%d%s", w, strings.Repeat("0", 20))}
		for i := w; i < sources; i += 3 {
			ws.sources = append(ws.sources, sourceID(i))
		}
		main := &destination{name: "main", bucket: fmt.Sprintf("e2e-%s-%d", tag, w), sources: ws.sources}
		if w < 2 {
			main.role = fmt.Sprintf("arn:aws:iam::12345678901%d:role/segment-logs", w)
		}
		if w == 1 {
			main.prefix = "acme/raw"
		}
		ws.destinations = append(ws.destinations, main)
		if w == 0 {
			ws.destinations = append(ws.destinations, &destination{
				name: "second", bucket: fmt.Sprintf("e2e-%s-second", tag), prefix: "copy", sources: ws.sources[:len(ws.sources)/5],
			})
		}
		s.workspaces = append(s.workspaces, ws)
	}
	return s
}

// sourceID is the id of the sample's source i.
func sourceID(i int) string { return fmt.Sprintf("src%05d", i) }

// start starts everything and waits until every role is ready.
func (s *system) start(ctx context.Context) {
	s.t.Helper()
	require.NoError(s.t, s.servers.makeBucket(s.staging()))
	for _, w := range s.workspaces {
		for _, d := range w.destinations {
			require.NoError(s.t, s.servers.makeBucket(d.bucket))
			if d.role != "" {
				s.servers.makeRole(d.role, w.id, d.bucket)
			}
		}
	}
	for i := range s.fleet.collectors {
		addr := porttest.Free(s.t)
		s.listen = append(s.listen, addr)
		s.collectors = append(s.collectors, s.role("collector", i, fmt.Sprintf("listen: %q, %s", addr, s.fleet.collector)))
	}
	for i := range s.fleet.appenders {
		s.appenders = append(s.appenders, s.role("appender", i, s.appender(i, s.fleet.appender)))
	}
	for i := range s.fleet.copiers {
		s.copiers = append(s.copiers, s.role("copier", i, fmt.Sprintf("spool_dir: %q, %s", s.t.TempDir(), s.fleet.copier)))
	}
	for i := range s.fleet.auditors {
		s.auditors = append(s.auditors, s.role("auditor", i, s.fleet.auditor))
	}
	require.NoError(s.t, s.applyCatalog(ctx))
	s.restart(ctx, s.all()...)
}

// appender returns the configuration section of appender i.
func (s *system) appender(i int, settings string) string {
	return fmt.Sprintf("data_dir: %q, %s", filepath.Join(s.dir, fmt.Sprintf("appender-%d-disk", i)), settings)
}

// applyCatalog applies the system's present workspaces.
func (s *system) applyCatalog(ctx context.Context) error {
	config, err := s.config("catalog", porttest.Free(s.t), "")
	if err != nil {
		return err
	}
	file, err := s.catalog()
	if err != nil {
		return err
	}
	_, err = sealift(ctx, s.env(), "catalog", "apply", "--config", config, "-f", file)
	return err
}

// disk returns the data directory of an appender.
func (s *system) disk(appender *process) string { return filepath.Join(s.dir, appender.name+"-disk") }

// kill is kill -9, for all of them.
func (s *system) kill(processes ...*process) {
	s.t.Helper()
	for _, p := range processes {
		require.NoError(s.t, p.alive())
		p.kill()
		s.t.Logf("killed %s", p.name)
	}
}

// restart starts processes again on the same disks, and waits for all of them.
func (s *system) restart(ctx context.Context, processes ...*process) {
	s.t.Helper()
	within, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for _, p := range processes {
		require.NoError(s.t, p.start())
	}
	for _, p := range processes {
		require.NoError(s.t, p.ready(within))
	}
}

// stop drains all roles, from the intake to the end of the path, and requires that each ends
// cleanly.
func (s *system) stop() {
	s.t.Helper()
	for _, p := range s.all() {
		began := time.Now()
		require.NoError(s.t, p.terminate(drainWithin))
		s.t.Logf("%s drained in %v", p.name, time.Since(began).Round(time.Millisecond))
	}
}

// all lists the roles in the order of the data path.
func (s *system) all() []*process {
	return slices.Concat(s.collectors, s.appenders, s.copiers, s.auditors)
}

func (s *system) destinations() (all []*destination) {
	for _, w := range s.workspaces {
		all = append(all, w.destinations...)
	}
	return all
}

func (s *system) staging() string     { return "e2e-" + s.tag + "-staging" }
func (s *system) eventsTopic() string { return "e2e-" + s.tag + ".events" }

// role describes process i of a role.
func (s *system) role(role string, i int, section string) *process {
	s.t.Helper()
	name, admin := fmt.Sprintf("%s-%d", role, i), porttest.Free(s.t)
	file, err := s.config(name, admin, role+": {"+section+"}\n")
	require.NoError(s.t, err)
	env := s.env()
	if s.servers.envOf != nil {
		env = append(env, s.servers.envOf(role)...)
	}
	return newProcess(s.t, s.dir, name, admin, env, role, "--config", file)
}

// env passes the operator's credentials to a process in AWS's own variables.
func (s *system) env() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + s.servers.access, "AWS_SECRET_ACCESS_KEY=" + s.servers.secret, "AWS_SESSION_TOKEN=",
		"AWS_REGION=" + s.servers.region, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

// config writes the configuration file of one process.
func (s *system) config(name, admin, section string) (string, error) {
	_, s3, _ := strings.Cut(s.servers.s3, "://")
	text := fmt.Sprintf(`kafka:
  brokers: [%[1]s]
  events_topic: e2e-%[2]s.events
  jobs_topic: e2e-%[2]s.copy-jobs
  dead_letters_topic: e2e-%[2]s.dead-letters
  catalog_topic: e2e-%[2]s.catalog
  group: e2e-%[2]s
  partitions: %[3]d
  session_timeout: 6s
redis:
  url: %[4]s
staging:
  bucket: %[5]s
  region: %[6]s
  endpoint: %[7]s
  force_path_style: true
sts:
  endpoint: %[7]s
  verify_trust: %[11]t
destinations:
  allowed_endpoints: [%[8]s]
admin:
  listen: %[9]s
log:
  format: json
%[10]s`, s.servers.kafka, s.tag, systemPartitions, s.servers.redis, s.staging(), s.servers.region, s.servers.s3, s3, admin, section, !s.servers.anyTrust)
	file := filepath.Join(s.dir, name+".yaml")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// catalog writes the catalog file, as JSON, which is also YAML.
func (s *system) catalog() (string, error) {
	var docs []string
	for _, w := range s.workspaces {
		var sources, destinations []map[string]any
		for _, id := range w.sources {
			sources = append(sources, map[string]any{"id": id, "name": id, "write_keys": []string{writeKey(id)}})
		}
		for _, d := range w.destinations {
			bucket := d.bucket
			if d.prefix != "" {
				bucket += "/" + d.prefix
			}
			doc := map[string]any{
				"name": d.name, "sources": d.sources, "bucket": bucket, "region": s.servers.region, "endpoint": s.servers.s3, "enabled": !d.disabled,
			}
			if d.role != "" {
				doc["role_arn"] = d.role
			}
			destinations = append(destinations, doc)
		}
		doc, err := json.Marshal(map[string]any{"workspace": w.id, "sources": sources, "destinations": destinations})
		if err != nil {
			return "", err
		}
		docs = append(docs, string(doc))
	}
	file := filepath.Join(s.dir, "catalog-documents.yaml")
	return file, os.WriteFile(file, []byte(strings.Join(docs, "\n---\n")+"\n"), 0o600)
}
