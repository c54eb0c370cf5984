package main

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
)

// alertRule is one rule of alerts.yaml.
type alertRule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// targetLabels are those that Prometheus adds to everything that it scrapes.
var targetLabels = []string{"instance", "job"}

// Every rule parses, and names only metrics and labels that the roles export and commands that there
// are. The manual names every metric, and no other.
func TestAlertsNameWhatThereIs(t *testing.T) {
	t.Parallel()
	code, out, errOut := runSealift(t, "", nil, "alerts")
	require.Equal(t, exitOK, code, errOut)
	var file struct {
		Groups []struct {
			Name  string      `yaml:"name"`
			Rules []alertRule `yaml:"rules"`
		} `yaml:"groups"`
	}
	require.NoError(t, yaml.UnmarshalWithOptions([]byte(out), &file, yaml.Strict()))
	require.Len(t, file.Groups, 1)
	metrics, seen := exportedMetrics(t), map[string]bool{}
	for _, r := range file.Groups[0].Rules {
		require.False(t, seen[r.Alert], "two rules are named %s", r.Alert)
		seen[r.Alert] = true
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
		require.Empty(t, r.problems(metrics), "%s:\n%s", r.Alert, r.Expr)
	}
	require.Greater(t, len(seen), 10)
	require.Contains(t, metrics["sealift_build_info"], "version")
	for _, name := range regexp.MustCompile(`\bsealift_(?:build|collector|appender|rotator|copier|auditor)_\w*[a-z]\b`).FindAllString(readManual(t), -1) {
		require.Contains(t, metrics, name, "the manual names it")
	}
	for name, labels := range metrics {
		if !strings.HasPrefix(name, "sealift_") || strings.HasPrefix(name, "sealift_copier_replay_") { // those mean what the others mean
			continue
		}
		named := regexp.MustCompile("`"+name+"(?:\\{([a-z_,]+)\\})?`").FindAllStringSubmatch(readManual(t), -1)
		require.NotEmpty(t, named, "the manual does not explain %s", name)
		for _, m := range named {
			if m[1] != "" {
				require.ElementsMatch(t, labels, strings.Split(m[1], ","), name)
			}
		}
	}

	dropped := regexp.MustCompile("`regex: (sealift_copier_[^`]+)`").FindStringSubmatch(readManual(t))
	require.NotNil(t, dropped)
	for name, labels := range metrics {
		drop := regexp.MustCompile("^(?:" + dropped[1] + ")$").MatchString(name)
		needed := regexp.MustCompile(`\b` + name + `\b`).MatchString(out)
		perDestination := strings.HasPrefix(name, "sealift_copier_") && slices.Contains(labels, "destination")
		require.False(t, drop && needed, "a rule needs %s, and the manual says to drop it", name)
		require.Equal(t, perDestination && !strings.HasSuffix(name, "_breaker_open"), drop, name) // that one exists only while a breaker is open
	}
}

// TestAlertProblemsAreFound gives the check a rule for every problem, and one without.
func TestAlertProblemsAreFound(t *testing.T) {
	metrics := map[string][]string{"sealift_a": {"partition"}, "sealift_b": nil}
	good := alertRule{Expr: "sum by (instance) (sealift_a) > 0 and ignoring (partition) sealift_b > 0", Annotations: map[string]string{
		"summary": "s", "description": "{{ $labels.instance }}: `sealift replay --source … --dry-run`",
	}}
	require.Empty(t, good.problems(metrics))
	for problem, change := range map[string]func(*alertRule){
		"parse":                        func(r *alertRule) { r.Expr = "sum by (" },
		"parse: a function of a range": func(r *alertRule) { r.Expr = "rate(sealift_a > 0)" },
		"no metric":                    func(r *alertRule) { r.Expr = "time() > 0" },
		"metric sealift_c":             func(r *alertRule) { r.Expr += " and sealift_c" },
		"label topic in a selector":    func(r *alertRule) { r.Expr = `sealift_a{topic="x"}` },
		"label topic in a modifier":    func(r *alertRule) { r.Expr = "max by (topic) (sealift_a)" },
		"label of in a modifier":       func(r *alertRule) { r.Expr = "sealift_a and ignoring (of) sealift_b" },
		"label partition in a text":    func(r *alertRule) { r.Annotations["description"] += "{{ $labels.partition }}" },
		"no summary":                   func(r *alertRule) { delete(r.Annotations, "summary") },
		"no command":                   func(r *alertRule) { r.Annotations["description"] = "look" },
		"command sealift nothing":      func(r *alertRule) { r.Annotations["description"] += "`sealift nothing`" },
		"command sealift audit --soon": func(r *alertRule) { r.Annotations["description"] += "`sealift audit --soon`" },
	} {
		r := good
		r.Annotations = maps.Clone(good.Annotations)
		change(&r)
		found := strings.Join(r.problems(metrics), "\n")
		require.Contains(t, found, problem)
	}
}

// problems returns what is wrong with a rule. metrics are the labels of each metric.
func (r alertRule) problems(metrics map[string][]string) (found []string) {
	expr, err := metricsql.Parse(r.Expr) // it accepts all of PromQL, and a little more
	if err != nil {
		return []string{"parse: " + err.Error()}
	}
	if metricsql.IsLikelyInvalid(expr) { // as in rate(sealift_a > 0), which is no PromQL
		found = append(found, "parse: a function of a range of another function's results")
	}
	labels, hasMetric := slices.Clone(targetLabels), false
	metricsql.VisitAll(expr, func(e metricsql.Expr) {
		m, ok := e.(*metricsql.MetricExpr)
		if !ok {
			return
		}
		hasMetric = true
		for _, filters := range m.LabelFilterss {
			name := ""
			for _, f := range filters {
				switch {
				case f.Label == "__name__":
					name = f.Value
					if _, ok := metrics[name]; !ok {
						found = append(found, "no role exports metric "+name)
					}
					labels = append(labels, metrics[name]...)
				case !slices.Contains(slices.Concat(metrics[name], targetLabels), f.Label):
					found = append(found, name+" has no label "+f.Label+" in a selector")
				}
			}
		}
	})
	if !hasMetric {
		found = append(found, "no metric")
	}
	kept := labels // by the outermost aggregation, which is visited last
	metricsql.VisitAll(expr, func(e metricsql.Expr) {
		var named []string
		switch e := e.(type) {
		case *metricsql.BinaryOpExpr:
			named = slices.Concat(e.GroupModifier.Args, e.JoinModifier.Args)
		case *metricsql.AggrFuncExpr:
			named = e.Modifier.Args
			kept = named
		}
		for _, l := range named {
			if !slices.Contains(labels, l) {
				found = append(found, "no metric of the rule has label "+l+" in a modifier")
			}
		}
	})
	text := r.Annotations["summary"] + r.Annotations["description"]
	for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(kept, m[1]) {
			found = append(found, "the result has no label "+m[1]+" in a text")
		}
	}
	for _, name := range []string{"summary", "description"} {
		if r.Annotations[name] == "" {
			found = append(found, "no "+name)
		}
	}
	commands := regexp.MustCompile("`(sealift [^`]+)`").FindAllStringSubmatch(r.Annotations["description"], -1)
	if len(commands) == 0 {
		found = append(found, "no command")
	}
	for _, m := range commands {
		root := newRootCommand(&app{overrides: map[string]string{}})
		c, args, err := root.Find(strings.Fields(m[1])[1:])
		if err == nil {
			err = c.ParseFlags(args)
		}
		if err != nil || c == root {
			found = append(found, "no command "+m[1])
		}
	}
	return found
}

// exportedMetrics returns the labels of each metric that a process with all roles registers.
func exportedMetrics(t *testing.T) map[string][]string {
	t.Helper()
	dir := t.TempDir()
	s, err := startStack(stackConfig{dir: dir}, silent)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	cfg := config.Default()
	s.configure(&cfg)
	devConfigure(&cfg, devOptions{data: dir})
	cfg.Collector.Listen, cfg.Admin.Listen, cfg.Collector.Spool.Dir = "127.0.0.1:0", "127.0.0.1:0", dir+"/spool"
	require.NoError(t, s.s3.CreateBucket(cfg.Staging.Bucket))
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan *process, 1), make(chan error, 1)
	go func() {
		ended <- runProcess(ctx, cfg, processOptions{
			roles: allRoles, credentials: s.credentials, onReady: func(p *process) { ready <- p },
		}, silent)
	}()
	defer func() { cancel(); require.NoError(t, <-ended) }()
	registry := (<-ready).metrics.(*prometheus.Registry)

	descriptions := make(chan *prometheus.Desc)
	go func() { registry.Describe(descriptions); close(descriptions) }()
	metrics := map[string][]string{}
	form := regexp.MustCompile(`^Desc\{fqName: "(\w+)", .*constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	for d := range descriptions {
		m := form.FindStringSubmatch(d.String())
		require.NotNil(t, m, "%s", d)
		labels := strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' })
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			labels = append(labels, l[1])
		}
		metrics[m[1]] = labels
	}
	require.Greater(t, len(metrics), 50)
	require.Equal(t, []string{"of"}, metrics["sealift_collector_spool_bytes"])
	require.Equal(t, []string{"partition"}, metrics["sealift_appender_in_trouble"])
	return metrics
}
