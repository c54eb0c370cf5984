package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// PixelBody returns the request body that a pixel's query stands for: its parameter data, which is
// JSON in base64 (any alphabet, with or without padding); or else all parameters as members, where
// a dot in a name opens an object: properties.subject=Hi is {"properties":{"subject":"Hi"}}. All
// names together may have at most 1,000 elements. The error is an *Error.
// (https://segment.com/docs/connections/sources/catalog/libraries/server/pixel-tracking-api/)
func PixelBody(query url.Values) ([]byte, error) {
	if data := strings.TrimSpace(query.Get("data")); data != "" {
		if data[0] == '{' {
			return []byte(data), nil
		}
		return decodeData(data)
	}
	body := map[string]any{}
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names) // "a" comes before "a.b"; the first one wins
	left := pixelElements
	for _, name := range names {
		elements := strings.Count(name, ".") + 1
		if elements > pixelDepth {
			continue
		}
		if left -= elements; left < 0 {
			return nil, &Error{Reason: ErrEventTooLarge, Event: -1, Detail: fmt.Sprintf("the names of the parameters have more than %d elements: send fewer, or the call in data", pixelElements)}
		}
		setPath(body, name, query.Get(name))
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return nil, &Error{Reason: ErrMalformed, Event: -1, Detail: "the parameters make no JSON"}
	}
	return b.Bytes(), nil
}

// decodeData tolerates what URLs do to base64: a + that became a space, lost padding, the URL
// alphabet.
func decodeData(data string) ([]byte, error) {
	data = strings.TrimRight(strings.NewReplacer(" ", "+", "-", "+", "_", "/").Replace(data), "=")
	body, err := base64.RawStdEncoding.DecodeString(data)
	if err != nil {
		return nil, &Error{Reason: ErrMalformed, Event: -1, Detail: "data is not base64 of a JSON object"}
	}
	return body, nil
}

// Each element of a path may open an object, so two bytes in the query may cost some 300 bytes.
// Both limits are beyond any real pixel.
const (
	pixelDepth    = 32    // of one path; deeper ones are dropped
	pixelElements = 1_000 // of all paths together
)

// setPath sets the value at a dotted path. A path through a value that is not an object is dropped.
func setPath(object map[string]any, path, value string) {
	elements := strings.Split(path, ".")
	for _, element := range elements[:len(elements)-1] {
		inner, ok := object[element].(map[string]any)
		if !ok {
			if _, taken := object[element]; taken {
				return
			}
			inner = map[string]any{}
			object[element] = inner
		}
		object = inner
	}
	if last := elements[len(elements)-1]; object[last] == nil {
		object[last] = value
	}
}
