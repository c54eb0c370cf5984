package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/sealift/sealift/pkg/spelling"
	"github.com/sealift/sealift/schemas"
)

// schema is the compiled schemas/catalog.schema.json.
var schema = sync.OnceValue(func() *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemas.Catalog))
	if err != nil {
		panic(fmt.Sprintf("catalog: embedded schema: %v", err)) // a test compiles it
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("catalog.schema.json", doc); err != nil {
		panic(fmt.Sprintf("catalog: embedded schema: %v", err))
	}
	return c.MustCompile("catalog.schema.json")
})

// violation is one violation of the schema.
type violation struct {
	path       string // like destinations/0/bucket
	structural bool   // a violation of the shape: an unknown or missing key, or a wrong type
	wrongType  bool   // a wrong type, so the value cannot be checked further
	what       string
	fix        string
}

// checkSchema returns all violations of a document made of map[string]any,
// []any, string, bool, float64.
func checkSchema(doc any) []violation {
	var invalid *jsonschema.ValidationError
	err := schema().Validate(doc)
	if err == nil {
		return nil
	}
	if !errors.As(err, &invalid) {
		return []violation{{structural: true, wrongType: true, what: err.Error()}}
	}
	var out []violation
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 {
			out = append(out, explain(e)...)
		}
		for _, c := range e.Causes {
			walk(c)
		}
	}
	walk(invalid)
	slices.SortStableFunc(out, func(a, b violation) int { return strings.Compare(a.path, b.path) })
	return out
}

func explain(e *jsonschema.ValidationError) []violation {
	path := strings.Join(e.InstanceLocation, "/")
	var out []violation
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, p := range k.Properties {
			out = append(out, violation{path: join(path, p), structural: true, what: "unknown key", fix: replaceKey(p, keysAt(e.InstanceLocation))})
		}
	case *kind.Required:
		for _, p := range k.Missing {
			out = append(out, violation{path: join(path, p), structural: true, what: "it is missing", fix: "write " + p + ": …"})
		}
	case *kind.Type:
		out = append(out, violation{path: path, structural: true, wrongType: true, what: "it must be " + words[k.Want[0]] + ", not " + words[k.Got]})
	default:
		out = append(out, violation{path: path, what: e.ErrorKind.LocalizedString(message.NewPrinter(language.English))})
	}
	return out
}

// replaceKey says what to do about an unknown key, where other keys are known.
func replaceKey(key string, known []string) string {
	if slices.Contains(known, "bucket") && (key == "prefix" || strings.HasSuffix(key, "_prefix")) {
		return "write the prefix behind the bucket's name, bucket: NAME/path/prefix"
	}
	if near := spelling.Suggest(key, known); near != "" {
		return "the nearest known key is " + near
	}
	for _, k := range known { // role means role_arn
		if slices.Contains(strings.Split(k, "_"), key) {
			return "the nearest known key is " + k
		}
	}
	return "remove it"
}

// words describes the schema's types for people.
var words = map[string]string{
	"string": "text", "number": "a number", "integer": "a whole number", "boolean": "true or false",
	"array": "a list", "object": "a mapping", "null": "empty",
}

// keysAt returns the known keys of the object at a location.
func keysAt(location []string) []string {
	s := schema()
	for _, at := range location {
		if s.Ref != nil {
			s = s.Ref
		}
		if _, err := strconv.Atoi(at); err == nil && s.Items2020 != nil {
			s = s.Items2020
		} else if next := s.Properties[at]; next != nil {
			s = next
		}
	}
	if s.Ref != nil {
		s = s.Ref
	}
	var keys []string
	for k := range s.Properties {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "/" + key
}
