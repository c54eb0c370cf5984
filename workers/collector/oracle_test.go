package collector

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/stream"
)

// oracle returns what a POST that is answered 200 has to leave, computed with the standard library
// alone: the events as essence returns them, or an error if 200 is wrong.
func oracle(r *http.Request, body []byte) ([]string, error) {
	kind, ok := paths[lastElement(r.URL.Path)]
	if !ok {
		return nil, fmt.Errorf("no call has the path %q", r.URL.Path)
	}
	if len(body) > 1 && body[0] == 0x1f && body[1] == 0x8b {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	}
	body = bytes.ToValidUTF8(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), []byte("\uFFFD"))
	all, err := object(body)
	if err != nil {
		return nil, err
	}
	events := []json.RawMessage{body}
	if kind == "" {
		if all["batch"] == nil {
			return nil, errors.New("no batch")
		}
		if err := json.Unmarshal(all["batch"], &events); err != nil || events == nil {
			return nil, fmt.Errorf("batch is not an array: %w", err)
		}
	}
	known := knownKey(basicKey(r)) || knownKey(text1(all["writeKey"]))
	var left []string
	for _, raw := range events {
		event, _ := object(raw)
		known = known || knownKey(text1(event["writeKey"])) // others of the batch become dead letters
		left = append(left, essence(raw, kind))
	}
	if !known {
		return nil, errors.New("no known key")
	}
	slices.Sort(left)
	return left, nil
}

func lastElement(path string) string {
	path = strings.TrimRight(path, "/")
	return path[strings.LastIndexByte(path, '/')+1:]
}

func knownKey(key string) bool {
	return slices.Contains([]string{"wk_web", "wk_server", "wk_server2"}, key)
}

func basicKey(r *http.Request) string {
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "basic") {
		return ""
	}
	decoded, _ := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(rest), "="))
	key, _, _ := strings.Cut(string(decoded), ":")
	return key
}

func object(raw []byte) (map[string]json.RawMessage, error) {
	var o map[string]json.RawMessage
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errors.New("no object")
	}
	return o, nil
}

// text1 returns the string that raw encodes, or "" if raw is not a string.
func text1(raw []byte) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}

// added are the members that the API adds to an event, changes or removes.
var added = []string{
	"messageId", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "context", "integrations", "channel", "version", "projectId", "writeKey",
}

// essence returns what an event and its line have in common. kind is the one that the path implies;
// "" for an event of a batch and for a line.
func essence(raw []byte, kind string) string {
	var event map[string]any
	decode := func(v any) error {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		return d.Decode(v)
	}
	if decode(&event) != nil || event == nil {
		var v any
		_ = decode(&v)
		same, _ := json.Marshal(v)
		return "no object: " + string(same)
	}
	if kind != "" {
		event["type"] = kind
	}
	maps.DeleteFunc(event, func(name string, _ any) bool { return slices.Contains(added, name) })
	same, _ := json.Marshal(event)
	return string(same)
}

// essences returns the essence of each record, sorted.
func essences(records ...stream.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, essence(r.Value, ""))
	}
	slices.Sort(all)
	return all
}

// wellFormed says what is wrong with a record of the events topic.
func wellFormed(record stream.Record) error {
	line, err := object(record.Value)
	switch {
	case err != nil:
		return fmt.Errorf("line %q: %w", record.Value, err)
	case bytes.ContainsRune(record.Value, '\n'):
		return fmt.Errorf("newline in %q", record.Value)
	case line["writeKey"] != nil:
		return fmt.Errorf("write key in %q", record.Value)
	}
	return nil
}
