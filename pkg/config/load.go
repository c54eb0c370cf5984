package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/spelling"
	"github.com/sealift/sealift/pkg/strictyaml"
)

// DefaultFile is read if it exists and no other file is named.
const DefaultFile = "./sealift.yaml"

const (
	envPrefix = "SEALIFT_"
	envFile   = "SEALIFT_CONFIG" // names the file, like --config
)

// Load merges the defaults, the YAML file at path, the SEALIFT_ variables of env (in the form of
// os.Environ) and flags (key -> value); later ones take precedence. If path is empty, the file is
// $SEALIFT_CONFIG, else DefaultFile if it exists.
//
// Unknown keys and variables are errors that name the nearest known one, if any is similar. All
// problems are reported at once, as *Error, together with a Config that holds every value that
// could be read, so that the caller can validate it as well.
func Load(path string, env []string, flags map[string]string) (Config, error) {
	l := loader{cfg: Default()}
	l.cfg.origins = map[string]string{}
	if err := l.file(path, env); err != nil {
		return l.cfg, err
	}
	l.env(env)
	l.flags(flags)
	if a := &l.cfg.Appender; l.cfg.origins["appender.grace"] == "" {
		a.Grace = max(0, min(a.Grace, a.RollEvery))
	}
	return l.cfg, l.problems.orNil()
}

type loader struct {
	cfg      Config
	problems Error
}

func (l *loader) file(path string, env []string) error {
	named := path != ""
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, envFile+"="); ok && !named && v != "" {
			path, named = v, true
		}
	}
	if !named {
		path = DefaultFile
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	docs, err := strictyaml.Parse(b)
	if err != nil {
		l.add("", path, err.Error(), "")
		return nil
	}
	if len(docs) > 1 {
		l.add("", fmt.Sprintf("%s:%d", path, docs[1].Line), "a second YAML document begins here", "keep one")
		return nil
	}
	if len(docs) == 1 {
		l.section(path, "", docs[0])
	}
	return nil
}

// section sets the keys below prefix.
func (l *loader) section(file, prefix string, n *strictyaml.Node) {
	from := fmt.Sprintf("%s:%d", file, n.Line)
	if n.Kind == strictyaml.Null {
		return
	}
	if n.Kind != strictyaml.Mapping {
		l.add(strings.TrimSuffix(prefix, "."), from, "it is "+n.Kind.String()+", not a mapping", "write keys and values below it")
		return
	}
	for _, p := range n.Keys {
		path, from := prefix+p.Key, fmt.Sprintf("%s:%d", file, p.Line)
		if k, ok := findKey(path); ok {
			l.leaf(k, from, p.Value)
		} else if isSection(path) {
			l.section(file, path+".", p.Value)
		} else {
			l.unknown(path, from, p.Value)
		}
	}
}

func (l *loader) leaf(k key, from string, n *strictyaml.Node) {
	switch n.Kind {
	case strictyaml.Null: // an empty value leaves the default
	case strictyaml.Mapping:
		l.add(k.path, from, "it takes a value, not a mapping", "write "+k.path[strings.LastIndex(k.path, ".")+1:]+": VALUE")
	case strictyaml.Sequence:
		var items []string
		for _, item := range n.List {
			if item.Kind == strictyaml.Mapping || item.Kind == strictyaml.Sequence {
				l.add(k.path, from, "an item of the list is "+item.Kind.String(), "write plain values")
				return
			}
			items = append(items, item.Text)
		}
		if _, list := leafTexts(k.value(&l.cfg)); !list {
			l.add(k.path, from, "it takes one value, not a list", "write it without - and [ ]")
			return
		}
		l.set(k, from, strings.Join(items, ","))
	default:
		l.set(k, from, n.Text)
	}
}

// unknown reports an unknown key, or every unknown key below it.
func (l *loader) unknown(path, from string, n *strictyaml.Node) {
	if len(n.Keys) > 0 {
		for _, p := range n.Keys {
			l.unknown(path+"."+p.Key, from, p.Value)
		}
		return
	}
	l.add(path, from, "unknown key", nearestKey(path))
}

// nearestKey names the key that was probably meant. It prefers one with the same last part: brokers
// means kafka.brokers.
func nearestKey(path string) string {
	last := "." + path[strings.LastIndex(path, ".")+1:]
	var same []string
	for _, k := range Keys() {
		if strings.HasSuffix(k, last) {
			same = append(same, k)
		}
	}
	near := spelling.Suggest(path, Keys())
	if len(same) > 0 {
		near = spelling.Nearest(path, same)
	}
	if near == "" {
		return "`sealift config print` shows all keys"
	}
	return "the nearest known key is " + near
}

func isSection(path string) bool {
	return slices.ContainsFunc(keys(), func(k key) bool { return strings.HasPrefix(k.path, path+".") })
}

func (l *loader) env(env []string) {
	known := map[string]key{}
	var names []string
	for _, k := range keys() {
		known[k.env()] = k
		names = append(names, k.env())
	}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) || name == envFile || unrelatedVariable.MatchString(name) || isServiceLink(name, value) {
			continue
		}
		if k, ok := known[name]; ok {
			l.set(k, name, value)
		} else {
			fix := "unset it"
			if near := spelling.Suggest(name, names); near != "" {
				fix = "the nearest known one is " + near + "; unset it or rename it"
			}
			l.add(name, "environment", "unknown variable", fix)
		}
	}
}

// unrelatedVariable matches the variables of this repository's scripts and tests (see
// scripts/stack.sh), and that of `sealift send`, which is not part of the configuration. The shell
// that runs sealift may have them set.
var unrelatedVariable = regexp.MustCompile(`^SEALIFT_(CACHE|MINIO|BIN|TEST_\w+|WRITE_KEY)$`)

var serviceLink = regexp.MustCompile(`^SEALIFT_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// isServiceLink recognises the variables that Kubernetes sets in every container for a Service
// named sealift or sealift-collector. Nobody set them on purpose, so they must not prevent a start.
func isServiceLink(name, value string) bool {
	if strings.HasSuffix(name, "_PORT") && !strings.HasSuffix(name, "_SERVICE_PORT") && !strings.Contains(value, "://") {
		return false // set by a person, like SEALIFT_REDIS_PORT=6379
	}
	return serviceLink.MatchString(name)
}

func (l *loader) flags(flags map[string]string) {
	for path, value := range flags {
		if k, ok := findKey(path); ok {
			l.set(k, "flag", value)
		} else {
			l.add(path, "flag", "unknown key", nearestKey(path))
		}
	}
}

func (l *loader) set(k key, from, text string) {
	if err := set(k.value(&l.cfg), text); err != nil {
		what, fix, _ := strings.Cut(err.Error(), "; ")
		l.add(k.path, from, what, fix)
		return
	}
	l.cfg.origins[k.path] = from
}

func (l *loader) add(key, from, what, fix string) {
	l.problems.Problems = append(l.problems.Problems, Problem{Key: key, From: from, What: what, Fix: fix})
}
