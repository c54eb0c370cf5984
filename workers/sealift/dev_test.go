package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/secret"
	"github.com/sealift/sealift/workers/collector/collectortest"
)

// devProcess is a running `sealift dev`.
type devProcess struct {
	endpoints
	cmd  *exec.Cmd
	done chan error
	log  *logtest.Buffer
}

func (p *devProcess) logged(text string) bool { return strings.Contains(p.log.String(), text) }

// awaitLog waits until the process has printed the text: it prints after it has
// written endpoints.json.
func (p *devProcess) awaitLog(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return p.logged(text) }, 20*time.Second, 50*time.Millisecond, text)
}

func devArgs(data string, args ...string) []string {
	return append([]string{
		"dev", "--data", data, "--http", ":0", "--s3", ":0", "--kafka", ":0", "--redis", ":0", "--admin", ":0", "--roll-every", "1s",
	}, args...)
}

func startDev(t *testing.T, data string, args ...string) *devProcess {
	t.Helper()
	return startDevAs(t, exec.Command("sealift", devArgs(data, args...)...), data)
}

// startDevAs starts `sealift dev` with a command that runs it as the same process.
func startDevAs(t *testing.T, cmd *exec.Cmd, data string) *devProcess {
	t.Helper()
	file := filepath.Join(data, "endpoints.json")
	_ = os.Remove(file) // left by an earlier run that was killed
	log := &logtest.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	p := &devProcess{cmd: cmd, done: make(chan error, 1), log: log}
	go func() { p.done <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Log(log.String())
		}
	})
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(b, &p.endpoints) == nil
	}, time.Minute, 20*time.Millisecond, "dev did not get ready")
	return p
}

func (p *devProcess) end(t *testing.T, s os.Signal) error {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
	err := <-p.done
	p.done <- err // for Cleanup
	return err
}

func (p *devProcess) credentials(context.Context) (objstore.Credentials, error) {
	return objstore.Credentials{AccessKeyID: p.S3AccessKey, SecretAccessKey: secret.New(p.S3SecretKey)}, nil
}

func (p *devProcess) bucket(name, region string) objstore.Store {
	return objstore.NewS3(objstore.S3Config{Bucket: name, Region: region, Endpoint: p.S3, PathStyle: true, Credentials: p.credentials})
}

// track sends an event, and reports whether it was answered with 200.
func (p *devProcess) track(key, messageID string) bool {
	body := fmt.Sprintf(`{"userId":"u","event":"E","messageId":%q}`, messageID)
	req, err := http.NewRequest(http.MethodPost, p.Collector+"/v1/track", strings.NewReader(body))
	if err != nil {
		return false
	}
	req.SetBasicAuth(key, "")
	resp, err := doUntilTaken(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// doUntilTaken sends a request, and again while Kafka is slow, as clients do: on a busy machine, it
// may be for some seconds. It returns any other 503.
func doUntilTaken(req *http.Request) (*http.Response, error) {
	for until := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		slow, _, err := collectortest.KafkaIsSlow(resp)
		if err != nil {
			return nil, err
		}
		if !slow || time.Now().After(until) {
			return resp, nil
		}
		if req.GetBody != nil { // it has a body
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// awaitDelivered waits until everything that was acknowledged is in the bucket, and returns the
// report.
func (p *devProcess) awaitDelivered(t *testing.T, bucket objstore.Store, prefix string, acked *check.Expected) *check.Report {
	t.Helper()
	var r *check.Report
	require.Eventually(t, func() bool {
		var err error
		r, err = acked.Check(listObjects(t.Context(), bucket, &tree{}), check.Rules{Prefix: prefix})
		return err == nil && r.Lost == 0
	}, time.Minute, 100*time.Millisecond, "events are missing in the bucket: %v", r)
	return r
}

// Events that were answered with 200 are neither lost nor duplicated, whenever the process is
// killed.
func TestDevSurvivesKill9(t *testing.T) {
	t.Parallel()
	data, acked := t.TempDir(), &check.Expected{}
	sent := 0
	for life := range 4 {
		p := startDev(t, data)
		// Run through a seal or two, and be killed at a different moment each time.
		for until := time.Now().Add(1500*time.Millisecond + time.Duration(life)*370*time.Millisecond); time.Now().Before(until); {
			id := fmt.Sprintf("%d-%d", life, sent)
			sent++
			if p.track("demo", id) {
				acked.Acknowledge("demo", id)
			}
		}
		require.Error(t, p.end(t, os.Kill))
	}
	p := startDev(t, data)
	r := p.awaitDelivered(t, p.bucket("demo-logs", p.S3Region), "", acked)
	require.Positive(t, r.Acknowledged)
	require.Zero(t, r.Duplicated, r)
	require.Zero(t, r.Malformed+r.Misplaced, r)
	// Events that were written but not answered may be there.
	require.LessOrEqual(t, r.Foreign, int64(sent)-r.Acknowledged)

	begin := time.Now()
	require.NoError(t, p.end(t, syscall.SIGTERM), "stopping on SIGTERM is a success")
	require.Less(t, time.Since(begin), 20*time.Second)
}

func TestDevCatalog(t *testing.T) {
	t.Parallel()
	file, s3 := filepath.Join(t.TempDir(), "catalog.yaml"), porttest.Free(t)
	var many strings.Builder // for one role, whose policy is then larger than the maximum
	for n := range 100 {
		fmt.Fprintf(&many, "  - {name: many-%d, sources: [idle], bucket: m%059d, role_arn: \"arn:aws:iam::111111111111:role/many\"}\n", n, n)
	}
	write := func(bucket string) {
		require.NoError(t, os.WriteFile(file, []byte(`
workspace: ws_AAAAAAAAAAAAAAAA
sources: [{id: web, write_keys: [key1]}, {id: idle, write_keys: [key2]}]
destinations:
  - {name: named, sources: [web], bucket: named-logs, endpoint: "http://`+s3+`"}
  - {name: main, sources: [web], bucket: `+bucket+`, region: eu-west-1, role_arn: "arn:aws:iam::111111111111:role/logs"}
`+many.String()), 0o600))
	}
	write("acme-logs/some/prefix")
	p := startDev(t, t.TempDir(), "--catalog", file, "--s3", s3)
	require.True(t, p.logged("role/many"), "dev starts although one role cannot be created")
	p.awaitLog(t, "WRITE_KEY: one of source web in "+file)
	p.awaitLog(t, "--bucket named-logs\n")
	require.False(t, p.logged("-u key1"), "a write key of the catalog file was printed")
	acked := &check.Expected{}
	require.False(t, p.track("demo", "x"), "the default write key was accepted")
	require.True(t, p.track("key1", "1"))
	acked.Acknowledge("web", "1")
	require.True(t, p.awaitDelivered(t, p.bucket("acme-logs", "eu-west-1"), "some/prefix", acked).OK())
	require.True(t, p.awaitDelivered(t, p.bucket("named-logs", p.S3Region), "", acked).OK(), "the destination with an endpoint")

	// The role can be assumed only with the right ExternalId.
	roles := assumerole.New(assumerole.Config{Endpoint: p.S3, Region: p.S3Region, Credentials: p.credentials})
	request := assumerole.Request{RoleARN: "arn:aws:iam::111111111111:role/logs", ExternalID: "ws_AAAAAAAAAAAAAAAA"}
	_, err := roles.Credentials(t.Context(), request)
	require.NoError(t, err)
	request.ExternalID = "ws_BBBBBBBBBBBBBBBB"
	_, err = roles.Credentials(t.Context(), request)
	require.ErrorIs(t, err, assumerole.ErrDenied)

	// A broken file changes nothing; a good one is applied while dev runs.
	require.NoError(t, os.WriteFile(file, []byte("workspace: ["), 0o600))
	p.awaitLog(t, "catalog file not applied")
	require.True(t, p.track("key1", "broken"))
	acked.Acknowledge("web", "broken")
	require.True(t, p.awaitDelivered(t, p.bucket("acme-logs", "eu-west-1"), "some/prefix", acked).OK())
	write("acme-new")
	require.Eventually(t, func() bool {
		_, err := p.bucket("acme-new", "eu-west-1").List(t.Context(), "", "", 1)
		return err == nil
	}, 20*time.Second, 50*time.Millisecond)
	require.True(t, p.track("key1", "2"))
	acked = &check.Expected{}
	acked.Acknowledge("web", "2")
	require.True(t, p.awaitDelivered(t, p.bucket("acme-new", "eu-west-1"), "", acked).OK())
}

func TestOperatorCommandsOnDev(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := startDev(t, data, "--set", "staging.retain=240h", "--set", "copier.park_after=2h")
	require.True(t, p.track("demo", "1"))
	acked := &check.Expected{}
	acked.Acknowledge("demo", "1")
	require.True(t, p.awaitDelivered(t, p.bucket("demo-logs", embeddedRegion), "", acked).OK())
	for _, args := range [][]string{
		{"config", "check"}, {"healthcheck"}, {"verify", "--deep"}, {"audit"}, {"destinations", "status"}, {"destinations", "check", "demo"},
		{"sources", "status"}, {"parked"}, {"replay", "--source", "demo", "--dry-run"}, {"catalog", "diff", "-f", "-"},
	} {
		c := exec.Command("sealift", append([]string{"--config", filepath.Join(data, "sealift.yaml")}, args...)...)
		c.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+p.S3AccessKey, "AWS_SECRET_ACCESS_KEY="+p.S3SecretKey)
		c.Stdin = strings.NewReader(demoWorkspace)
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s: %s", args, out)
	}
	for _, args := range [][]string{{"--source", "demp"}, {"--destination", "ws_demo0000000000000000/dem"}} {
		c := exec.Command("sealift", append([]string{"--config", filepath.Join(data, "sealift.yaml"), "verify"}, args...)...)
		c.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+p.S3AccessKey, "AWS_SECRET_ACCESS_KEY="+p.S3SecretKey)
		out, err := c.CombinedOutput()
		require.Error(t, err, "a misspelt name was not reported: %s", out)
		require.Contains(t, string(out), "nothing is known of")
		require.NotContains(t, string(out), "no problems")
	}
	loss := exec.Command("sealift", "--config", filepath.Join(data, "sealift.yaml"), "ledger", "accept-loss", "--partition", "0")
	loss.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+p.S3AccessKey, "AWS_SECRET_ACCESS_KEY="+p.S3SecretKey)
	out, err := loss.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "partition 0: nothing is lost")
	out, err = exec.Command("sealift", "--config", filepath.Join(data, "sealift.yaml"), "config", "print").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `retain: 240h.*\n(.*\n)*.*park_after: 2h`, string(out), "commands use the settings of the running dev")
	for _, preset := range []string{"session_timeout: 10s", "roll_every: 1s", "grace: 1s", "disk_free: 256MiB", "retry_tiers: \\[5s, 30s, 5m\\]", "every: 1m"} {
		require.Regexp(t, `(?m)^  `+preset+" #", string(out))
	}

	// Settings of one run do not apply to the next, even if SEALIFT_CONFIG names the file written
	// for commands.
	require.NoError(t, p.end(t, syscall.SIGTERM))
	again := exec.Command("sealift", devArgs(data)...)
	again.Env = append(os.Environ(), "SEALIFT_CONFIG="+filepath.Join(data, "sealift.yaml"))
	startDevAs(t, again, data)
	written, err := os.ReadFile(filepath.Join(data, "sealift.yaml"))
	require.NoError(t, err)
	require.NotContains(t, string(written), `park_after: "2h`)
}

// A migration can be tried on dev, and reverted after its switch, even after a restart: the role that
// dev makes still allows the former bucket, as a customer's would.
func TestMigrationOnDev(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := startDev(t, data)
	command := func(args ...string) *exec.Cmd {
		c := exec.Command("sealift", append([]string{"--config", filepath.Join(data, "sealift.yaml")}, args...)...)
		c.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+p.S3AccessKey, "AWS_SECRET_ACCESS_KEY="+p.S3SecretKey)
		return c
	}
	run := func(want int, stdin string, args ...string) string {
		c := command(args...)
		c.Stdin = strings.NewReader(stdin)
		out, _ := c.CombinedOutput()
		require.Equal(t, want, c.ProcessState.ExitCode(), "%s: %s", args, out)
		return string(out)
	}
	run(exitOK, demoWorkspace+`  - {name: new, sources: [demo], bucket: new-logs, role_arn: "arn:aws:iam::123456789012:role/demo-logs", enabled: false}`+"\n",
		"catalog", "apply", "-f", "-")
	require.Eventually(t, func() bool { return command("destinations", "check", "new").Run() == nil }, 20*time.Second, 50*time.Millisecond,
		"the role may not put into the new bucket")
	run(exitPartial, "", "destinations", "migrate", "demo", "--bucket", "new-logs", "--yes", "--wait", "100ms")
	require.Contains(t, run(exitOK, "", "catalog", "get"), "name: demo\n    sources:\n      - demo\n    bucket: new-logs\n")
	require.NoError(t, p.end(t, syscall.SIGTERM))
	p = startDev(t, data)
	run(exitOK, "", "destinations", "migrate", "demo", "--abort", "--yes")
	require.Contains(t, run(exitOK, "", "catalog", "get"), "bucket: demo-logs\n")
}

func TestDevRefusesASecondProcess(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := startDev(t, data)
	out, err := exec.Command("sealift", "dev", "--data", data, "--http", ":0", "--s3", ":0", "--kafka", ":0", "--redis", ":0", "--admin", ":0").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), data)
	require.True(t, p.track("demo", "still there"))
	_, err = os.Stat(filepath.Join(data, "endpoints.json"))
	require.NoError(t, err, "the endpoints file of the first process was removed")
}

func TestDevKeepsAConfigurationItDidNotWrite(t *testing.T) {
	data := t.TempDir()
	file := filepath.Join(data, "sealift.yaml")
	require.NoError(t, os.WriteFile(file, []byte("staging: {bucket: acme}\n"), 0o600))
	out, err := exec.Command("sealift", devArgs(data)...).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), file)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "staging: {bucket: acme}\n", string(b))
}

// dev works with the configuration of a fleet, except for what is embedded, what concerns the
// fleet's collector, and when files are sealed.
func TestDevWithAFleetConfiguration(t *testing.T) {
	t.Parallel()
	spool := filepath.Join(t.TempDir(), "spool")
	p := startDev(t, t.TempDir(), "--set", "kafka.replication=3", "--set", "kafka.create_topics=false",
		"--set", "collector.tls.cert_file=/none.pem", "--set", "collector.tls.key_file=/none.pem", "--set", "destinations.ca_file=/none.pem",
		"--set", "collector.spool.dir="+spool, "--set", "collector.public_host=events.example.com",
		"--set", "appender.roll_every=1h", "--set", "appender.grace=2s")
	require.True(t, p.track("demo", "1"))
	acked := &check.Expected{}
	acked.Acknowledge("demo", "1")
	require.True(t, p.awaitDelivered(t, p.bucket("demo-logs", p.S3Region), "", acked).OK(), "delivery waited for the configured roll_every")
	require.NoDirExists(t, spool, "dev used the spool of the fleet's collector")
}

// dev ends with an error if a role cannot start. Here a file is where the collector's spool should
// be.
func TestDevEndsWhenARoleCannotStart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	file := filepath.Join(data, "collector-spool")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sealift", "dev", "--data", data, "--http", ":0", "--s3", ":0", "--kafka", ":0", "--redis", ":0", "--admin", ":0",
		"--set", "collector.spool.dir=anywhere").CombinedOutput()
	require.NoError(t, ctx.Err(), "dev went on without its roles")
	require.Error(t, err)
	require.Contains(t, string(out), file)
}

func TestDevReusesPortsAfterARestart(t *testing.T) {
	data := t.TempDir()
	b, err := json.Marshal(endpoints{Collector: "http://127.0.0.1:1001", S3: "http://127.0.0.1:1002", Kafka: "127.0.0.1:1003", Redis: "redis://127.0.0.1:1004/0", Admin: "http://127.0.0.1:1005"})
	require.NoError(t, err)
	file := filepath.Join(data, "endpoints.json")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	any := address{at: ":0", chosen: true}
	o := devOptions{http: any, s3: any, kafka: any, redis: address{at: "0.0.0.0:0"}, admin: address{at: ":9090", chosen: true}}
	o.reusePorts(file)
	require.Equal(t, address{at: ":1001"}, o.http)
	require.Equal(t, address{at: ":1002"}, o.s3)
	require.Equal(t, address{at: ":1003"}, o.kafka)
	require.Equal(t, address{at: "0.0.0.0:1004"}, o.redis)
	require.Equal(t, address{at: ":9090", chosen: true}, o.admin, "a port that the user chose was replaced")
}

func TestListenOnATakenAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	listen := func(at string) error {
		l, err := net.Listen("tcp", at)
		if err == nil {
			err = l.Close()
		}
		return err
	}
	a := address{at: l.Addr().String(), chosen: true, flag: "--http"}
	require.ErrorContains(t, a.listen(silent, listen), "choose another one with --http")
	a.chosen = false
	require.NoError(t, a.listen(silent, listen), "a taken default address is replaced")
	a.at = "nonsense"
	require.ErrorContains(t, a.listen(silent, listen), "want host:port")
}

// A stack that listens on all interfaces uses loopback addresses, which is what catalogs, proxy
// exceptions and the printed commands contain.
func TestStackOnAllInterfacesUsesLoopbackURL(t *testing.T) {
	s, err := startStack(stackConfig{dir: t.TempDir(), s3: address{at: "0.0.0.0:0"}}, silent)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, s.s3URL)
	require.True(t, s.isOwnEndpoint(strings.Replace(s.s3URL, "127.0.0.1", "localhost", 1)))
	require.Equal(t, "http://127.0.0.1:80", baseURL("[::]:80"))
	require.Equal(t, "http://[::1]:80", baseURL("[::1]:80"))
}

func TestProvisionAllowsABucketOncePerRole(t *testing.T) {
	s, err := startStack(stackConfig{dir: t.TempDir()}, silent)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	w := catalog.Workspace{ID: "ws_AAAAAAAAAAAAAAAA"}
	for n := range 400 {
		w.Destinations = append(w.Destinations, catalog.Destination{
			Name: fmt.Sprint("d", n), Bucket: fmt.Sprint("acme-logs/", n), RoleARN: "arn:aws:iam::111111111111:role/logs",
		})
	}
	live := catalog.NewLive()
	require.NoError(t, live.Apply(w.ID, catalog.Encode(w)))
	require.NoError(t, s.provision(live.Publish()))
}

func TestProvisionGivesARoleToItsFirstWorkspace(t *testing.T) {
	s, err := startStack(stackConfig{dir: t.TempDir()}, silent)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	live := catalog.NewLive()
	for _, id := range []string{"ws_BBBBBBBBBBBBBBBB", "ws_AAAAAAAAAAAAAAAA"} {
		require.NoError(t, live.Apply(id, catalog.Encode(catalog.Workspace{ID: id, Destinations: []catalog.Destination{
			{Name: "main", Bucket: "logs-" + strings.ToLower(id[3:5]), RoleARN: "arn:aws:iam::111111111111:role/logs"},
			{Name: "named", Bucket: "named-" + strings.ToLower(id[3:5]), Endpoint: strings.Replace(s.s3URL, "127.0.0.1", "localhost", 1)},
			{Name: "elsewhere", Bucket: "not-ours", Endpoint: "https://s3.example.com"},
		}})))
	}
	require.NoError(t, s.provision(live.Publish()))
	require.Equal(t, []string{"logs-aa", "logs-bb", "named-aa", "named-bb"}, s.s3.Buckets())
	roles := assumerole.New(assumerole.Config{Endpoint: s.s3URL, Region: embeddedRegion, Credentials: s.credentials})
	_, err = roles.Credentials(t.Context(), assumerole.Request{RoleARN: "arn:aws:iam::111111111111:role/logs", ExternalID: "ws_AAAAAAAAAAAAAAAA"})
	require.NoError(t, err)
}
