package collector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/schemas"
)

// api is schemas/openapi.yaml, for the tests that compare it with the code.
type api struct {
	root     any
	compiler *jsonschema.Compiler
	// instances are expressions that match the paths of requests, by the path in the document.
	instances map[string]*regexp.Regexp
	mu        sync.Mutex
	compiled  map[string]*jsonschema.Schema // guarded by mu; by pointer
}

var readAPI = sync.OnceValues(func() (*api, error) {
	text, err := yaml.YAMLToJSON(schemas.OpenAPI)
	if err != nil {
		return nil, err
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	a := &api{root: root, compiler: jsonschema.NewCompiler(), instances: map[string]*regexp.Regexp{}, compiled: map[string]*jsonschema.Schema{}}
	a.compiler.DefaultDraft(jsonschema.Draft2020)
	for _, path := range a.paths() {
		pattern := strings.NewReplacer(`\{type\}`, `.+`, `\{writeKey\}`, `[^/]+`).Replace(regexp.QuoteMeta(path))
		a.instances[path] = regexp.MustCompile(`(?s)^` + pattern + `$`)
	}
	return a, a.compiler.AddResource("openapi.json", root)
})

// at follows a JSON pointer, resolving references on the way; it returns the final pointer and what
// is there, or nil if there is nothing.
func (a *api) at(pointer string) (string, any) {
	here, v := "", a.root
	for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		object, _ := v.(map[string]any)
		v = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
		here += "/" + step
		if object, ok := v.(map[string]any); ok {
			if ref, ok := object["$ref"].(string); ok && !strings.HasPrefix(ref, "#/components/schemas/") {
				here, v = a.at(strings.TrimPrefix(ref, "#"))
			}
		}
	}
	return here, v
}

func escaped(step string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(step) }

func (a *api) paths() []string {
	_, paths := a.at("/paths")
	return slices.Sorted(maps.Keys(paths.(map[string]any)))
}

// pathOf returns the document's path that matches a request's path, ignoring double slashes.
func (a *api) pathOf(requested string) (string, bool) {
	for strings.Contains(requested, "//") {
		requested = strings.ReplaceAll(requested, "//", "/")
	}
	for path, instance := range a.instances {
		if instance.MatchString(requested) {
			return path, true
		}
	}
	return "", false
}

// check says how an answer deviates from the document; nil if it does not.
func (a *api) check(method, requested string, status int, header http.Header, body []byte) error {
	path, _ := a.pathOf(requested)
	operation := "/paths/" + escaped(path) + "/" + strings.ToLower(method)
	_, listed := a.at(operation)
	var where string
	switch {
	case listed != nil && method == strings.ToUpper(method): // methods are case-sensitive
		where = operation + "/responses/" + strconv.Itoa(status)
	case status == http.StatusServiceUnavailable:
		where = "/components/responses/Unavailable"
	case method == http.MethodOptions && status == http.StatusNoContent:
		where = "/components/responses/Preflight" // pages may always send a preflight
	case path != "" && status == http.StatusMethodNotAllowed:
		where = "/components/responses/WrongMethod"
	case path == "" && status == http.StatusNotFound:
		where = "/components/responses/NoPath"
	default:
		return fmt.Errorf("%s %s is not in the document, and was answered %d", method, requested, status)
	}
	where, response := a.at(where)
	if response == nil {
		return fmt.Errorf("%s %s answered %d, which the document does not list", method, requested, status)
	}
	if _, headers := a.at(where + "/headers"); headers != nil {
		for name := range headers.(map[string]any) {
			at, declared := a.at(where + "/headers/" + name)
			value := header.Get(name)
			if value == "" {
				if required, _ := declared.(map[string]any)["required"].(bool); required {
					return fmt.Errorf("%s %s answered %d without %s", method, requested, status, name)
				}
				continue
			}
			if err := a.valid(at+"/schema", value); err != nil {
				return fmt.Errorf("%s %s answered %d with %s: %w", method, requested, status, name, err)
			}
		}
	}
	_, contents := a.at(where + "/content")
	if contents == nil {
		if len(body) > 0 {
			return fmt.Errorf("%s %s answered %d with a body", method, requested, status)
		}
		return nil
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	content := where + "/content/" + escaped(media)
	at, found := a.at(content)
	if found == nil {
		return fmt.Errorf("%s %s answered %d in %q", method, requested, status, header.Get("Content-Type"))
	}
	if _, schema := a.at(at + "/schema"); schema == nil || media != "application/json" || method == http.MethodHead {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = a.valid(at+"/schema", value)
	}
	if err != nil {
		return fmt.Errorf("%s %s answered %d with %q: %w", method, requested, status, body, err)
	}
	return nil
}

func (a *api) valid(pointer string, value any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	schema := a.compiled[pointer]
	if schema == nil {
		var err error
		if schema, err = a.compiler.Compile("openapi.json#" + pointer); err != nil {
			return err
		}
		a.compiled[pointer] = schema
	}
	return schema.Validate(value)
}

// checkRecorded says how the answer to r deviates from the document.
func checkRecorded(r *http.Request, w *httptest.ResponseRecorder) error {
	a, err := readAPI()
	if err != nil {
		return err
	}
	return a.check(r.Method, r.URL.Path, w.Code, w.Header(), w.Body.Bytes())
}

// TestOpenAPIListsEveryPathAndMethod: the router serves exactly what is in the document. Every
// word in the code, and every one of up to two letters, is tried as a path.
func TestOpenAPIListsEveryPathAndMethod(t *testing.T) {
	a, err := readAPI()
	require.NoError(t, err)
	b := newFixture(t, Config{})
	serves := func(method, path string) bool {
		at, err := url.ParseRequestURI(path)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, "/", text(""))
		r.Method, r.URL = method, at
		w := httptest.NewRecorder()
		b.Handler().ServeHTTP(w, r)
		return w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed
	}
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
	inDocument, tried := map[string]bool{}, 0
	try := func(path, template string) {
		for _, method := range methods {
			if method == http.MethodOptions && !inDocument[template] {
				continue // a preflight is answered on any path
			}
			_, operation := a.at("/paths/" + escaped(template) + "/" + strings.ToLower(method))
			require.Equal(t, operation != nil, serves(method, path), "%s %s", method, path)
		}
		tried++
	}
	for _, path := range a.paths() {
		inDocument[path] = true
	}
	for _, path := range a.paths() {
		try(strings.NewReplacer("{type}", "track", "{writeKey}", "wk_web").Replace(path), path)
	}
	require.Len(t, inDocument, 2*(len(paths)+2)+1)
	for word := range words(t) {
		for _, form := range []string{"/%s", "/v1/%s", "/v1/%s/", "/v1/projects/%s", "/v1/projects/wk_web/%s"} {
			if path := fmt.Sprintf(form, word); form != "/v1/projects/wk_web/%s" || word != "settings" {
				try(path, path)
			}
		}
	}
	require.Greater(t, tried, 5_000)
}

// words returns all words in the code that serves the API, and all of up to two letters.
func words(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{"settings": true}
	for first := 'a'; first <= 'z'; first++ {
		all[string(first)] = true
		for second := 'a'; second <= 'z'; second++ {
			all[string(first)+string(second)] = true
		}
	}
	word := regexp.MustCompile(`[A-Za-z][A-Za-z0-9_.-]*`)
	for _, dir := range []string{".", "../../pkg/event"} {
		files, err := filepath.Glob(dir + "/*.go")
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			require.NoError(t, err)
			ast.Inspect(parsed, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					value, err := strconv.Unquote(literal.Value)
					require.NoError(t, err)
					for _, found := range word.FindAllString(value, -1) {
						all[found] = true
					}
				}
				return true
			})
		}
	}
	require.True(t, all["identify"] && all["import"] && all["openapi.yaml"], "the code was not read")
	return all
}

// TestOpenAPIListsEveryReason: every reason in the code is in the document, including those
// that no test sees an answer with.
func TestOpenAPIListsEveryReason(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	found := 0
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 3 || strings.HasSuffix(file, "_test.go") {
				return true
			}
			name, _ := call.Fun.(*ast.Ident)
			reason, literal := call.Args[1].(*ast.BasicLit)
			if literal && name != nil && (name.Name == "newRefusal" || name.Name == "retryLater") {
				require.Regexp(t, `code: \{(enum: \[|const: )([a-z_]+, )*`+strings.Trim(reason.Value, `"`)+`[],}]`, string(schemas.OpenAPI))
				found++
			}
			return true
		})
	}
	require.Greater(t, found, 10)
}

func TestOpenAPIIsServed(t *testing.T) {
	b := newFixture(t, Config{})
	r := httptest.NewRequest(http.MethodGet, documentPath, nil)
	r.Header.Set("Origin", "https://docs.example")
	w := b.do(r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, schemas.OpenAPI, w.Body.Bytes())
	require.Equal(t, "https://docs.example", w.Header().Get("Access-Control-Allow-Origin"), "a page that shows it reads it from any host")
}

// TestOpenAPICheckFindsDeviations: the check of all tests' answers finds what is not in the
// document.
func TestOpenAPICheckFindsDeviations(t *testing.T) {
	a, err := readAPI()
	require.NoError(t, err)
	const refusal = `{"success":false,"code":"kafka","message":"m"}`
	type set = http.Header
	header := set{"Content-Type": {"application/json"}, "Vary": {"Origin"}, "Retry-After": {"1"}, "Allow": {"POST, OPTIONS"}}
	without := func(name string) set {
		h := maps.Clone(header)
		delete(h, name)
		return h
	}
	for hazard, c := range map[string]struct {
		method, path string
		status       int
		header       set
		body, want   string
	}{
		"fine":              {"POST", "/v1/t", 503, header, refusal, ""},
		"fine_with_slash":   {"POST", "//v1//t/", 503, header, refusal, ""},
		"status":            {"POST", "/v1/t", 502, header, refusal, "does not list"},
		"no_header":         {"POST", "/v1/t", 503, without("Retry-After"), refusal, "without Retry-After"},
		"bad_header":        {"POST", "/v1/t", 503, set{"Content-Type": {"application/json"}, "Retry-After": {"0"}}, refusal, "Retry-After"},
		"content_type":      {"POST", "/v1/t", 503, without("Content-Type"), refusal, "answered 503 in"},
		"other_code":        {"POST", "/v1/t", 503, header, strings.Replace(refusal, "kafka", "unknown_write_key", 1), "value must be one of"},
		"member_too_many":   {"POST", "/v1/t", 503, header, strings.Replace(refusal, "{", `{"a":1,`, 1), "additional properties"},
		"no_json":           {"POST", "/v1/t", 200, header, "ok", "invalid character"},
		"no_success":        {"POST", "/v1/t", 200, header, `{"success":false}`, "value must be true"},
		"unlisted_method":   {"PUT", "/v1/t", 200, header, `{"success":true}`, "is not in the document"},
		"preflight_with_it": {"OPTIONS", "/v1/t", 204, header, "", "without Access-Control"},
		"nowhere":           {"POST", "/v1/x", 404, header, refusal, "value must be 'path'"},
	} {
		t.Run(hazard, func(t *testing.T) {
			err := a.check(c.method, c.path, c.status, c.header, []byte(c.body))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestOpenAPIExamplesAreAccepted: the collector accepts the document's examples.
func TestOpenAPIExamplesAreAccepted(t *testing.T) {
	a, err := readAPI()
	require.NoError(t, err)
	b := newFixture(t, Config{Validate: true})
	for schema, path := range map[string]string{"Event": "/v1/track", "Batch": "/v1/batch"} {
		_, properties := a.at("/components/schemas/" + schema + "/properties")
		body := map[string]any{}
		for name, property := range properties.(map[string]any) {
			if examples, ok := property.(map[string]any)["examples"].([]any); ok {
				body[name] = examples[0]
			}
		}
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		require.NoError(t, a.valid("/components/schemas/"+schema, reread(t, raw)))
		w := b.do(post(path, bytes.NewReader(raw)))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Len(t, b.topic.take(), 1)
		require.Empty(t, b.dead.take())
	}
}

func reread(t *testing.T, raw []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	return v
}
