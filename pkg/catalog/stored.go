package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/sealift/sealift/pkg/strictjson"
)

// ErrBadRecord is wrapped by every error of Decode.
var ErrBadRecord = errors.New("malformed catalog record")

// storedVersion is the version of the stored form that this code reads and writes.
const storedVersion = 1

type storedRecord struct {
	Version int `json:"version"`
	Workspace
}

// Stored returns w in the canonical form in which it is stored and compared: write keys replaced by
// their hashes, everything that has no order sorted, and nothing shared with w.
func Stored(w Workspace) Workspace {
	out := Workspace{ID: w.ID}
	for _, s := range w.Sources {
		out.Sources = append(out.Sources, storedSource(s))
	}
	for _, d := range w.Destinations {
		out.Destinations = append(out.Destinations, storedDestination(d))
	}
	slices.SortStableFunc(out.Sources, func(a, b Source) int { return strings.Compare(a.ID, b.ID) })
	slices.SortStableFunc(out.Destinations, func(a, b Destination) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func storedSource(s Source) Source {
	hashes := slices.Clone(s.WriteKeyHashes)
	for _, key := range s.WriteKeys {
		hashes = append(hashes, HashKey(key))
	}
	slices.Sort(hashes)
	if s.Spread == 1 { // 0 means the same
		s.Spread = 0
	}
	return Source{ID: s.ID, Name: s.Name, WriteKeyHashes: slices.Compact(hashes), Spread: s.Spread}
}

func storedDestination(d Destination) Destination {
	d.Sources = slices.Clone(d.Sources)
	slices.Sort(d.Sources)
	d.ServerSideEncryption, d.Enabled, d.PathStyle = clone(d.ServerSideEncryption), clone(d.Enabled), clone(d.PathStyle)
	return d
}

func clone(b *bool) *bool {
	if b == nil {
		return nil
	}
	v := *b
	return &v
}

// Encode returns the value of w's record in the catalog topic; the record's key is the workspace's
// id. Equal catalogs have equal bytes, which contain no write key.
func Encode(w Workspace) []byte {
	b, err := json.Marshal(storedRecord{Version: storedVersion, Workspace: Stored(w)})
	if err != nil { // no field can fail to marshal
		panic(err)
	}
	return b
}

// Decode strictly parses what Encode returned; the error wraps ErrBadRecord. It refuses what no
// reader could handle safely: another version, write keys that are not hashed, or an invalid
// workspace id. The rest is not validated; see Validate.
func Decode(b []byte) (Workspace, error) {
	var s storedRecord
	if err := strictjson.Decode(b, &s); err != nil {
		return Workspace{}, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	if s.Version != storedVersion {
		return Workspace{}, fmt.Errorf("%w: version %d, this release reads %d", ErrBadRecord, s.Version, storedVersion)
	}
	if !workspaceID.MatchString(s.ID) {
		return Workspace{}, fmt.Errorf("%w: %q is not a workspace id", ErrBadRecord, s.ID)
	}
	for _, src := range s.Sources {
		if len(src.WriteKeys) > 0 {
			return Workspace{}, fmt.Errorf("%w: source %q holds a write key that is not hashed", ErrBadRecord, src.ID)
		}
	}
	return s.Workspace, nil
}

// MarshalYAML returns workspaces as documents for Parse, with hashed write keys.
func MarshalYAML(workspaces []Workspace) ([]byte, error) {
	var out bytes.Buffer
	for i, w := range workspaces {
		if i > 0 {
			out.WriteString("---\n")
		}
		b, err := yaml.MarshalWithOptions(Stored(w), yaml.IndentSequence(true), yaml.CustomMarshaler(quote))
		if err != nil {
			return nil, fmt.Errorf("write workspace %q as YAML: %w", w.ID, err)
		}
		out.Write(b)
	}
	return out.Bytes(), nil
}

var plainScalar = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./@=-]*(:[A-Za-z0-9_./@=-]+)*$`)

// quote writes text so that no YAML parser takes it for another type, like an account of
// 012345678901 or a source named no.
func quote(s string) ([]byte, error) {
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf":
	default:
		if plainScalar.MatchString(s) {
			return []byte(s), nil
		}
	}
	return json.Marshal(s)
}
