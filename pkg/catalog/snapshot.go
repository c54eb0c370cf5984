package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/delivery"
)

// SourceRef is a source and the workspace that it belongs to.
type SourceRef struct {
	Source
	Workspace string
}

// Target is a destination with every default filled in.
type Target struct {
	Destination
	ID         string // "workspace/name"
	Workspace  string // the sts:ExternalId
	BucketName string
	Prefix     string // without slashes at either end
	Owner      string // account that must own the bucket; "" if unknown
	SSE        bool   // request SSE-S3
	IsEnabled  bool
	// RefusalReason says why nothing may be delivered there; "" if nothing is wrong. It is set if
	// the catalog's record breaks a rule of this package, for instance if two workspaces use the
	// same place. Its files stay owed, and wait for the catalog to be corrected.
	RefusalReason string
}

// Snapshot is a complete, indexed catalog. It is immutable and safe for concurrent use; what it
// returns must not be changed.
type Snapshot struct {
	workspaces []Workspace // in their stored form, sorted by id
	sources    map[string]SourceRef
	byKey      map[[sha256.Size]byte]string
	owed       map[string][]string
	targets    map[string]Target
	problems   []Problem
}

// NewSnapshot validates and indexes workspaces.
func (o Operator) NewSnapshot(workspaces []Workspace) (*Snapshot, error) {
	if err := o.Validate(workspaces); err != nil {
		return nil, err
	}
	return index(workspaces, o), nil
}

// NewSnapshot is Operator.NewSnapshot for an unknown operator.
func NewSnapshot(workspaces []Workspace) (*Snapshot, error) {
	return Operator{}.NewSnapshot(workspaces)
}

// index builds a snapshot even of invalid workspaces. A source that breaks a rule is left out, and
// a destination is marked as refused. Of two that collide, the earlier one wins.
func index(workspaces []Workspace, operator Operator) *Snapshot {
	s := &Snapshot{
		sources: map[string]SourceRef{},
		byKey:   map[[sha256.Size]byte]string{},
		owed:    map[string][]string{},
		targets: map[string]Target{},
	}
	var invalid *Error
	if errors.As(operator.Validate(workspaces), &invalid) {
		s.problems = invalid.Problems
	}
	refused := map[place]string{}  // destinations; the key has no root
	badSources := map[place]bool{} // sources
	for _, p := range s.problems {
		parts := strings.Split(p.path, "/")
		i, err := strconv.Atoi(partAt(parts, 1))
		switch where := (place{doc: p.doc, index: i}); {
		case err != nil:
		case parts[0] == "sources" && partAt(parts, 2) == "id":
			badSources[where] = true
		case parts[0] == "destinations" && refused[where] == "":
			refused[where] = p.String()
		}
	}
	for doc, w := range workspaces {
		s.workspaces = append(s.workspaces, Stored(w))
		for i, src := range w.Sources {
			if !badSources[place{doc: doc, index: i}] {
				s.addSource(w.ID, src)
			}
		}
		for i, d := range w.Destinations {
			s.addDestination(w.ID, d, refused[place{doc: doc, index: i}])
		}
	}
	for _, ids := range s.owed {
		slices.Sort(ids)
	}
	slices.SortFunc(s.workspaces, func(a, b Workspace) int { return strings.Compare(a.ID, b.ID) })
	return s
}

func (s *Snapshot) addSource(workspace string, src Source) {
	src = storedSource(src)
	s.sources[src.ID] = SourceRef{Source: src, Workspace: workspace}
	for _, hash := range src.WriteKeyHashes {
		if !keyHash.MatchString(hash) {
			continue
		}
		var sum [sha256.Size]byte
		_, _ = hex.Decode(sum[:], []byte(hash)) // cannot fail, since keyHash matches
		if _, taken := s.byKey[sum]; !taken {
			s.byKey[sum] = src.ID
		}
	}
}

func (s *Snapshot) addDestination(workspace string, d Destination, refused string) {
	d = storedDestination(d)
	t := Target{
		Destination: d, ID: workspace + "/" + d.Name, Workspace: workspace, Owner: d.ExpectedBucketOwner,
		SSE: d.ServerSideEncryption == nil || *d.ServerSideEncryption, IsEnabled: enabled(d), RefusalReason: refused,
	}
	t.BucketName, t.Prefix = SplitBucket(d.Bucket)
	if t.Owner == "" {
		t.Owner = RoleAccount(d.RoleARN)
	}
	if _, taken := s.targets[t.ID]; taken {
		return
	}
	s.targets[t.ID] = t
	if !t.IsEnabled || !delivery.IsDestination(t.ID) {
		return // no receipt could have a key for this id, so nothing could ever settle what is owed to it
	}
	for _, source := range d.Sources {
		// Files of a source of another workspace are never owed here, whatever the record says.
		if s.sources[source].Workspace == workspace && !slices.Contains(s.owed[source], t.ID) {
			s.owed[source] = append(s.owed[source], t.ID)
		}
	}
}

// Workspaces returns all workspaces in their stored form, sorted by id.
func (s *Snapshot) Workspaces() []Workspace { return s.workspaces }

// SourceByWriteKey returns the source that a write key may send events to. It takes the same time
// for all keys of the same length, because it looks up a hash.
func (s *Snapshot) SourceByWriteKey(key string) (SourceRef, bool) {
	var buf [128]byte // every valid key fits, so nothing is allocated on the heap
	id, ok := s.byKey[sha256.Sum256(append(buf[:0], key...))]
	if !ok {
		return SourceRef{}, false
	}
	return s.sources[id], true
}

// Source returns a source by its id.
func (s *Snapshot) Source(id string) (SourceRef, bool) {
	ref, ok := s.sources[id]
	return ref, ok
}

// Spread returns over how many partitions the source's events are to be spread; 1 if the catalog's
// value is missing or invalid.
func (s *Snapshot) Spread(sourceID string) int {
	if n := s.sources[sourceID].Spread; n > 1 && n <= MaxSpread {
		return n
	}
	return 1
}

// Owed returns the ids of the enabled destinations that the files of a source
// are owed to, sorted; nil if there are none.
func (s *Snapshot) Owed(sourceID string) []string { return s.owed[sourceID] }

// Destination returns a destination, enabled or not, by its id
// "workspace/name".
func (s *Snapshot) Destination(id string) (Target, bool) {
	t, ok := s.targets[id]
	return t, ok
}

// Destinations returns all destinations, enabled or not, sorted by workspace and name.
func (s *Snapshot) Destinations() []Target {
	return slices.SortedFunc(maps.Values(s.targets), func(a, b Target) int {
		return cmp.Or(strings.Compare(a.Workspace, b.Workspace), strings.Compare(a.Name, b.Name))
	})
}

// Problems returns what is wrong with the records that the snapshot was made from, as an *Error, or
// nil. It returns nil for a Snapshot of NewSnapshot.
func (s *Snapshot) Problems() error { return asError(s.problems) }
