package replay

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
)

// ErrNotSubscribed is an error of CheckPermitted and Run.Check: the catalog does not send the source
// there.
var ErrNotSubscribed = errors.New("the destination is not subscribed to the source")

// CheckPermitted returns nil if a file may be delivered to a destination because of an order: the
// ledger owes it there, or the present catalog sends the source's files there. Everything that the
// ledger and the catalog know about file and source must belong to the destination's workspace.
func CheckPermitted(s *catalog.Snapshot, f *ledger.File, destination string) error {
	for _, d := range f.Owed { // a source id may have changed hands since
		if owner := delivery.WorkspaceOf(d); owner != delivery.WorkspaceOf(destination) {
			return foreignError(f.Source, destination, owner)
		}
	}
	if slices.Contains(f.Owed, destination) {
		return nil
	}
	return checkSubscribed(s, f.Source, destination)
}

// checkSubscribed returns nil if the catalog sends the source's files to the destination; otherwise
// an error, ErrNotSubscribed with what to do unless it must never send them there.
func checkSubscribed(s *catalog.Snapshot, source, destination string) error {
	if src, ok := s.Source(source); ok && src.Workspace != delivery.WorkspaceOf(destination) {
		return foreignError(source, destination, src.Workspace)
	}
	if !slices.Contains(s.Owed(source), destination) {
		return fmt.Errorf("replay source %q to %q: %w: add it to the destination's sources, enabled, and `sealift catalog apply`", source, destination, ErrNotSubscribed)
	}
	return nil
}

func foreignError(source, destination, owner string) error {
	return fmt.Errorf("replay source %q to %q: the file belongs to another workspace than the destination, %q", source, destination, owner)
}
