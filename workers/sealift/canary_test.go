package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// canaryRun is one way to run a command.
type canaryRun struct {
	args  []string
	stdin string
	shows []string // the secrets that its stdout is supposed to show
}

func cmdline(args ...string) canaryRun { return canaryRun{args: args} }

// canaryRuns returns runs of all commands, chosen to make them print much. A command that is
// missing here fails the test.
func (w *canaryRig) canaryRuns() map[string][]canaryRun {
	const dest, ws = "ws_AAAAAAAAAAAAAAAA/main", "ws_AAAAAAAAAAAAAAAA"
	inEvents := []string{"event body", "email in an event", "refused event"} // the last one because it is redriven
	catalog, url, key := w.file("catalog.yaml"), "http://127.0.0.1:1", w.writeKey
	return map[string][]canaryRun{
		"":                 {cmdline(), cmdline("--help"), cmdline("nonsense"), cmdline("--nonsense")},
		"help":             {cmdline("help", "all")},
		"completion":       {cmdline("completion")},
		"config":           {cmdline("config")},
		"config reference": {cmdline("config", "reference")},
		"config print":     {cmdline("config", "print"), cmdline("config", "print", "--json")},
		"config check":     {cmdline("config", "check")},
		"version":          {cmdline("version", "--json")},
		"healthcheck":      {cmdline("healthcheck")},
		"catalog":          {cmdline("catalog")},
		"catalog new":      {cmdline("catalog", "new", "--bucket", "acme-logs")}, // its keys are new: see TestNewWriteKeysAreShownOnce
		"catalog get":      {cmdline("catalog", "get"), cmdline("catalog", "get", ws, "--json")},
		"catalog diff":     {cmdline("catalog", "diff", "-f", catalog, "--json"), cmdline("catalog", "diff", "-f", w.file("other.yaml"))},
		"catalog apply":    {cmdline("catalog", "apply", "-f", catalog)},
		"catalog delete":   {cmdline("catalog", "delete", "ws_BBBBBBBBBBBBBBBB")},
		"catalog validate": {cmdline("catalog", "validate", "-f", catalog), cmdline("catalog", "validate", "-f", w.file("broken.yaml")),
			cmdline("catalog", "validate", "-f", w.file("malformed.yaml"))},
		"destinations":         {cmdline("destinations")},
		"destinations check":   {cmdline("destinations", "check", dest), cmdline("destinations", "check", "--all", "--json"), cmdline("destinations", "check", "-f", catalog, "--write")},
		"destinations policy":  {cmdline("destinations", "policy", dest), cmdline("destinations", "policy", dest, "--format", "terraform")},
		"destinations status":  {cmdline("destinations", "status"), cmdline("destinations", "status", "--json")},
		"destinations migrate": {cmdline("destinations", "migrate", "classic", "--role-arn", "arn:aws:iam::111111111111:role/echo")},
		"staging":              {cmdline("staging")},
		"staging policy":       {cmdline("staging", "policy", "--role", "all")},
		"sources":              {cmdline("sources")},
		"sources status":       {cmdline("sources", "status", "--json"), cmdline("sources", "status")},
		"sources redrive":      {cmdline("sources", "redrive", "--dry-run"), cmdline("sources", "redrive", "--json", "--set", "collector.validation=none")},
		"alerts":               {cmdline("alerts")},
		"audit":                {cmdline("audit", "--full"), cmdline("audit", "--json")},
		"verify":               {cmdline("verify", "--deep"), cmdline("verify", "--json")},
		"completeness":         {cmdline("completeness"), cmdline("completeness", "--json")},
		"parked":               {cmdline("parked"), cmdline("parked", "--json")},
		"plan":                 {cmdline("plan"), cmdline("plan", "--json")},
		"redrive":              {cmdline("redrive", "--dry-run"), cmdline("redrive")},
		"replay":               {cmdline("replay", "--source", "web", "--since", "1h", "--dry-run"), cmdline("replay", "--destination", dest, "--since", "1h", "--force")},
		"replay list":          {cmdline("replay", "list", "--json")},
		"replay show":          {cmdline("replay", "show", "20261122-141530-a1b2c3")},
		"ledger":               {cmdline("ledger")},
		"ledger accept-loss":   {cmdline("ledger", "accept-loss", "--partition", "0", "--dry-run")},
		"ledger show":          {cmdline("ledger", "show"), cmdline("ledger", "show", "--partition", "0", "--json")},
		"send": {
			{args: []string{"send", "--url", w.collectorURL(), "--retry-for", "1s"}, stdin: `{"a":"` + w.body + `"}` + "\n" + w.malformed + "\n"},
			{args: []string{"send", "--url", w.collectorURL(), "--retry-for", "1s", "--write-key", w.unknownKey}, stdin: `{"a":1}`},
			{args: []string{"send", "--url", url, "--retry-for", "1s", "--write-key", key}, stdin: `{"a":1}`},
		},
		"files":      {cmdline("files")},
		"files ls":   {cmdline("files", "ls", "s3://acme-logs", "--endpoint", w.s3URL), cmdline("files", "ls", "s3://echo-logs", "--endpoint", w.s3URL, "--json")},
		"files sync": {cmdline("files", "sync", "s3://acme-logs", w.file("synced"), "--endpoint", w.s3URL)},
		"files cat":  {{args: []string{"files", "cat", "s3://acme-logs", "--endpoint", w.s3URL}, shows: inEvents}},
		// These keep running, so they have no runs here. The test starts the roles itself; dev and
		// demo are not covered.
		"all": nil, "collector": nil, "appender": nil, "copier": nil, "auditor": nil, "dev": nil, "demo": nil,
	}
}

// Whatever secret the product is given, is sent or creates, it appears in nothing that the product
// writes, except where that is the purpose: the new keys in `catalog new`, and the events in `files
// cat`.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	w := newCanaryRig(t)
	broken := strings.ReplaceAll(fmt.Sprintf(canaryWorkspace, "["+w.writeKey+", "+w.writeKey+"], "+"'"+w.writeKey+" !'", "https://u:"+w.unknownKey+"@h"), "web]", "none]")
	for name, text := range map[string]string{
		"other.yaml":     strings.ReplaceAll(fmt.Sprintf(canaryWorkspace, w.unknownKey, w.s3URL), "gone-logs", "lost-logs"),
		"broken.yaml":    broken,
		"malformed.yaml": "workspace: ws_AAAAAAAAAAAAAAAA\nsources:\n  - id: web\n    write_keys: [" + w.writeKey + "\n\tx: &" + w.unknownKey,
	} {
		require.NoError(t, os.WriteFile(w.file(name), []byte(text), 0o600))
	}
	runs := w.canaryRuns()
	requireAllCommands(t, runs)
	text := append(w.env[:len(w.env):len(w.env)], "SEALIFT_LOG_LEVEL=debug", "SEALIFT_LOG_FORMAT=text", writeKeyVariable+"="+w.writeKey)

	stdout, stderr := w.command("catalog apply", text, time.Minute, runs["catalog apply"][0])
	require.Contains(t, stdout, "applied 1 workspace,", stderr)
	var roles []*daemon
	for _, role := range allRoles {
		roles = append(roles, w.daemon(t, role, role, "text", w.env))
	}
	for _, d := range roles {
		d.await(t, "200 OK")
	}
	w.markUsed("aws secret key") // S3 verified a signature: the staging bucket was probed
	w.collector = roles[0].collector
	runs = w.canaryRuns()
	w.sendTraffic(t, w.collectorURL())
	var delivered string
	require.Eventually(t, func() bool {
		delivered, stderr = w.command("files cat", text, time.Minute, runs["files cat"][0])
		return strings.Contains(delivered, `"u"`)
	}, 2*time.Minute, 200*time.Millisecond, "%s\n%s", &stderr, &roles[2].out)
	w.markUsedIn(delivered) // it contains the events' secrets, so they were used
	var parked string
	require.Eventually(t, func() bool {
		parked, stderr = w.command("parked", text, time.Minute, cmdline("parked", "--json"))
		return strings.Contains(parked, "/echo\"") && strings.Contains(parked, "/echo-role\"")
	}, 2*time.Minute, 200*time.Millisecond, "%s\n%s\n%s", &parked, &stderr, &roles[2].out)
	stdout, _ = w.command("sources status", text, time.Minute, runs["sources status"][0])
	var status sourcesStatus
	require.NoError(t, json.Unmarshal([]byte(stdout), &status))
	require.Positive(t, status.Sources[0].DeadLetters, "the refused event is a dead letter")
	w.runAll(runs, "up", text, time.Minute)
	w.redis.Close() // so that there are errors to log
	roles[2].await(t, "503")
	for _, d := range roles {
		w.endAndRead(t, d, syscall.SIGQUIT)
	}
	require.NoError(t, w.redis.Restart())

	all := w.daemon(t, "all", "all", "json", w.env)
	all.await(t, "200 OK")
	w.collector = all.collector
	w.sendTraffic(t, w.collectorURL())
	require.Eventually(t, func() bool {
		out := all.out.String()
		return strings.Contains(out, "echo-logs") && strings.Contains(out, `"level":"DEBUG"`) // a file of the traffic was sealed
	}, time.Minute, 50*time.Millisecond)
	w.endAndRead(t, all, syscall.SIGTERM)

	w.runWithFailures(t, runs)
	require.Empty(t, w.unused(), "secrets that were not seen in use")
	require.NotEmpty(t, w.signatures)
	require.True(t, w.outputContains("level=DEBUG") && w.outputContains(`"level":"DEBUG"`), "debug logs in both formats")
	require.Empty(t, w.findLeaks())
	// The same search finds a secret that is leaked on purpose.
	w.addOutput("a leak on purpose", "level=DEBUG msg=\"wrote\" url=redis://:"+w.writeKey)
	require.Len(t, w.findLeaks(), 1)
}

func (w *canaryRig) collectorURL() string { return "http://" + w.collector }

// requireAllCommands fails if a command is missing in runs.
func requireAllCommands(t *testing.T, runs map[string][]canaryRun) {
	var commands []string
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		_, name, _ := strings.Cut(c.CommandPath(), " ")
		commands = append(commands, name)
		if name == "completion" {
			return // its subcommands print scripts that are known when the binary is built
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand(&app{overrides: map[string]string{}}))
	for _, name := range commands {
		require.Contains(t, runs, name, "add the new command to canaryRuns, which shows that it prints no secret")
	}
	require.Len(t, runs, len(commands))
}

// runAll runs all commands, up to eight at a time.
func (w *canaryRig) runAll(runs map[string][]canaryRun, how string, env []string, limit time.Duration) {
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for name, ways := range runs {
		for i, c := range ways {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				w.command(fmt.Sprintf("%s %d %s", name, i, how), env, limit, c)
			})
		}
	}
	all.Wait()
}

// runWithFailures runs everything with wrong passwords, and with services that are away.
func (w *canaryRig) runWithFailures(t *testing.T, runs map[string][]canaryRun) {
	without := func(keys ...string) []string {
		return slices.DeleteFunc(slices.Clone(w.env), func(e string) bool {
			return slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(e, k+"=") })
		})
	}
	redis := "SEALIFT_REDIS_URL=redis://:" + w.plant("wrong redis password", "") + "@" + w.redisAt + "/0"
	wrong := append(without("SEALIFT_KAFKA_SASL_PASSWORD", "AWS_SECRET_ACCESS_KEY"), redis, writeKeyVariable+"="+w.unknownKey,
		"SEALIFT_KAFKA_SASL_PASSWORD="+w.plant("wrong sasl password", "/+"), "AWS_SECRET_ACCESS_KEY="+w.plant("wrong aws secret key", "/+"),
		"AWS_SESSION_TOKEN="+w.plant("aws session token", "/+="))
	away := append(without("SEALIFT_KAFKA_BROKERS", "SEALIFT_STAGING_ENDPOINT", "SEALIFT_STS_ENDPOINT"),
		"SEALIFT_KAFKA_BROKERS=127.0.0.1:1", "SEALIFT_REDIS_URL=redis://:"+w.plant("password of no redis", "")+"@127.0.0.1:1/0",
		"SEALIFT_STAGING_ENDPOINT=http://127.0.0.1:1", "SEALIFT_STS_ENDPOINT=http://127.0.0.1:1")
	partly := append(without("AWS_SECRET_ACCESS_KEY"), redis, "AWS_SECRET_ACCESS_KEY="+w.plant("partly wrong key", ""))
	for how, env := range map[string][]string{"refused": wrong, "away": away, "refused by S3": partly} {
		all := w.daemon(t, "all "+how, "all", "text", env)
		all.await(t, "waiting for ")
		env = append(env, "SEALIFT_LOG_LEVEL=debug", "SEALIFT_LOG_FORMAT=json")
		w.command("parked alone "+how, env, time.Minute, canaryRun{args: []string{"parked"}}) // there is enough time to reach S3
		w.runAll(runs, how, env, 2*time.Second)
		w.endAndRead(t, all, syscall.SIGQUIT)
	}
	for how, c := range map[string]struct{ env, want string }{
		"refused by Redis": {redis, "WRONGPASS"},
		"without Redis":    {"SEALIFT_REDIS_URL=redis://:" + w.plant("password of no redis", "") + "@127.0.0.1:1/0", "waiting for redis at 127.0.0.1:1"},
	} {
		copier := w.daemon(t, "copier "+how, "copier", "json", append(without(), c.env, "SEALIFT_CONFIG="+os.DevNull))
		copier.await(t, c.want)
		w.endAndRead(t, copier, syscall.SIGQUIT)
	}
	w.markUsed("password of no redis") // a dial with it was tried
	for secret, how := range map[string]string{"wrong aws secret key": " refused std", "partly wrong key": " refused by S3 std"} {
		if slices.ContainsFunc(w.outputs, func(o output) bool {
			return strings.Contains(o.name, how) && strings.Contains(o.text, "SignatureDoesNotMatch")
		}) {
			w.markUsed(secret) // S3 checked a signature made with it
		}
	}
}
