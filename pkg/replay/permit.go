package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/ledger"
)

// Errors of Permit.
var (
	// ErrForeign says that a file belongs to another workspace than the
	// destination; nothing makes that right.
	ErrForeign = errors.New("the file belongs to another workspace than the destination")
	// ErrNotSubscribed says that the catalog does not send the source there.
	ErrNotSubscribed = errors.New("the destination is not subscribed to the source")
)

// Permit returns nil if a file may be delivered to a destination because an
// order says so: the ledger owes it there, or the catalog as it is now sends
// the source's files there, and all that the ledger and the catalog know of
// file and source is of the destination's workspace.
func Permit(s *catalog.Snapshot, f *ledger.File, destination string) error {
	for _, d := range f.Owed { // a source's id may have changed hands since
		if !sameWorkspace(d, destination) {
			return fmt.Errorf("replay source %q to %q: %w, %q", f.Source, destination, ErrForeign, workspaceOf(d))
		}
	}
	if slices.Contains(f.Owed, destination) {
		return nil
	}
	return Subscribed(s, f.Source, destination)
}

// Subscribed returns nil if the catalog sends the source's files to the
// destination, else ErrForeign or ErrNotSubscribed with what to do.
func Subscribed(s *catalog.Snapshot, source, destination string) error {
	if src, ok := s.Source(source); ok && src.Workspace != workspaceOf(destination) {
		return fmt.Errorf("replay source %q to %q: %w, %q", source, destination, ErrForeign, src.Workspace)
	}
	if !slices.Contains(s.Owed(source), destination) {
		return fmt.Errorf("replay source %q to %q: %w: add it to the destination's sources, enabled, and `sealift catalog apply`", source, destination, ErrNotSubscribed)
	}
	return nil
}

func sameWorkspace(a, b string) bool { return workspaceOf(a) == workspaceOf(b) }

func workspaceOf(destination string) string {
	workspace, _, _ := strings.Cut(destination, "/")
	return workspace
}
