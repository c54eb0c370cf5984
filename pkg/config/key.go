package config

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/secret"
	"github.com/sealift/sealift/pkg/spelling"
)

// key is one leaf of Config.
type key struct {
	path  string // kafka.events_topic
	index []int  // for reflect's FieldByIndex
}

// env returns the key's environment variable.
func (k key) env() string { return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_")) }

func (k key) value(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(k.index) }

// keys returns all leaves in the order of the struct.
var keys = sync.OnceValue(func() []key {
	var out []key
	var walk func(t reflect.Type, path string, index []int)
	walk = func(t reflect.Type, path string, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			name := f.Tag.Get("yaml")
			if name == "" {
				continue
			}
			at := append(append([]int(nil), index...), i)
			if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[secret.Text]() {
				walk(f.Type, path+name+".", at)
			} else {
				out = append(out, key{path: path + name, index: at})
			}
		}
	}
	walk(reflect.TypeFor[Config](), "", nil)
	return out
})

// Keys returns every key, like kafka.brokers, in the order of Config.
func Keys() []string {
	var out []string
	for _, k := range keys() {
		out = append(out, k.path)
	}
	return out
}

// Env returns the environment variable of a key: SEALIFT_KAFKA_BROKERS.
func Env(path string) string { return key{path: path}.env() }

func findKey(path string) (key, bool) {
	for _, k := range keys() {
		if k.path == path {
			return k, true
		}
	}
	return key{}, false
}

// set parses text into the leaf v. Lists are comma-separated. The error says what to write, and
// contains no secret. A masked secret is refused: a copy of what Print wrote would otherwise be
// taken for the password.
func set(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *secret.Text:
		if text == secret.Mask || strings.Contains(text, "://") && strings.Contains(text, secret.Mask) {
			return errors.New("the secret is masked, as `sealift config print` shows it; write the secret itself")
		}
		*p = secret.New(text)
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false; write one of them", text)
		}
		*p = b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			like := *p
			if like < 1 { // -1 (the broker's) or 0 (off) is no good example
				like = 3
			}
			return fmt.Errorf("%q is not a whole number; write one, like %d", text, like)
		}
		*p = n
	case *ByteSize:
		b, err := ParseByteSize(text)
		if err != nil {
			return err
		}
		*p = b
	case *time.Duration:
		d, err := parseDuration(text)
		if err != nil {
			return err
		}
		*p = d
	case *[]string:
		*p = splitList(text)
	case *[]time.Duration:
		var list []time.Duration
		for _, item := range splitList(text) {
			d, err := parseDuration(item)
			if err != nil {
				return err
			}
			list = append(list, d)
		}
		*p = list
	default:
		panic(fmt.Sprintf("config: no parser for %T", p)) // a test sets every key
	}
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		if hours := spelling.Hours(text); hours != "" {
			return 0, fmt.Errorf("%q is not a duration, since its largest unit is h; write %s", text, hours)
		}
		return 0, fmt.Errorf("%q is not a duration; write a number with ms, s, m or h, like 90s or 1h30m", text)
	}
	return d, nil
}

// splitList parses "a,b" and also "[a, b]", the form that `config print` shows.
func splitList(text string) []string {
	var out []string
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		text = strings.TrimSuffix(inner, "]")
	}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// printed returns the items of the key's value in c as leafTexts does, but of Redis's URL masks only
// the credentials: which Redis it is, is not secret.
func (k key) printed(c *Config) (items []string, list bool) {
	if u, err := url.Parse(c.Redis.URL.Reveal()); k.path == "redis.url" && err == nil && u.Host != "" && u.Fragment == "" {
		return []string{withoutCredentials(c.Redis.URL.Reveal())}, false
	}
	return leafTexts(k.value(c))
}

// leafTexts returns the items of a leaf in the form that set parses, with secrets masked; a scalar
// has one item.
func leafTexts(v reflect.Value) (items []string, list bool) {
	switch x := v.Interface().(type) {
	case []string:
		for _, item := range x {
			items = append(items, withoutCredentials(item))
		}
		return items, true
	case []time.Duration:
		for _, d := range x {
			items = append(items, progress.Duration(d))
		}
		return items, true
	case time.Duration:
		return []string{progress.Duration(x)}, false
	case secret.Text:
		return []string{x.String()}, false
	default:
		return []string{withoutCredentials(fmt.Sprint(x))}, false
	}
}
