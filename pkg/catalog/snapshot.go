package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
	Prefix     string // without slashes at its ends
	Owner      string // account that must own the bucket, "" if none is known
	SSE        bool   // ask for SSE-S3
	IsEnabled  bool
	// Refused says why nothing may be delivered there, "" if nothing is wrong:
	// the catalog's record breaks a rule that pkg/catalog enforces, such as
	// two workspaces with one place. Its files stay owed, so that they wait
	// for the catalog to be corrected.
	Refused string
}

// Snapshot is a whole catalog, indexed. It is immutable: safe for concurrent
// use, and what it returns must not be changed.
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

// NewSnapshot is Operator.NewSnapshot where nothing is known of the operator.
func NewSnapshot(workspaces []Workspace) (*Snapshot, error) {
	return Operator{}.NewSnapshot(workspaces)
}

// index builds a snapshot of whatever is there. What breaks a rule is left
// out if it is a source, and marked as refused if it is a destination; of two
// that collide the earlier one stands.
func index(workspaces []Workspace, own Operator) *Snapshot {
	s := &Snapshot{
		sources: map[string]SourceRef{},
		byKey:   map[[sha256.Size]byte]string{},
		owed:    map[string][]string{},
		targets: map[string]Target{},
	}
	var invalid *Error
	if errors.As(own.Validate(workspaces), &invalid) {
		s.problems = invalid.Problems
	}
	refused := map[place]string{} // destinations, without root
	bad := map[place]bool{}       // sources
	for _, p := range s.problems {
		parts := strings.Split(p.path, "/")
		i, err := strconv.Atoi(at(parts, 1))
		switch where := (place{doc: p.doc, index: i}); {
		case err != nil:
		case parts[0] == "sources" && at(parts, 2) == "id":
			bad[where] = true
		case parts[0] == "destinations" && refused[where] == "":
			refused[where] = p.String()
		}
	}
	for doc, w := range workspaces {
		s.workspaces = append(s.workspaces, Stored(w))
		for i, src := range w.Sources {
			if !bad[place{doc: doc, index: i}] {
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
		_, _ = hex.Decode(sum[:], []byte(hash)) // it matches
		if _, taken := s.byKey[sum]; !taken {
			s.byKey[sum] = src.ID
		}
	}
}

func (s *Snapshot) addDestination(workspace string, d Destination, refused string) {
	d = storedDestination(d)
	t := Target{
		Destination: d, ID: workspace + "/" + d.Name, Workspace: workspace, Owner: d.ExpectedBucketOwner,
		SSE: d.ServerSideEncryption == nil || *d.ServerSideEncryption, IsEnabled: enabled(d), Refused: refused,
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
		return // what no receipt can have a key for must not be owed: nothing could ever close it
	}
	for _, source := range d.Sources {
		// A source of another workspace is never owed here, whatever the record says.
		if s.sources[source].Workspace == workspace && !slices.Contains(s.owed[source], t.ID) {
			s.owed[source] = append(s.owed[source], t.ID)
		}
	}
}

// Workspaces returns all workspaces in their stored form, sorted by id.
func (s *Snapshot) Workspaces() []Workspace { return s.workspaces }

// SourceByWriteKey returns the source that a write key may send events to.
// It takes the same time for every key of a length: what is looked up is a
// hash.
func (s *Snapshot) SourceByWriteKey(key string) (SourceRef, bool) {
	var buf [128]byte // every valid key fits, and stays off the heap
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

// Spread returns over how many partitions the source's events are to be spread;
// 1 if the catalog does not say, or what it says is invalid.
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

// Problems returns what is wrong with the records that the snapshot was made
// of, as an *Error, or nil. A Snapshot of NewSnapshot has none.
func (s *Snapshot) Problems() error { return asError(s.problems) }
