//go:build isal

package igzip

import (
	"testing"

	"github.com/sealift/sealift/pkg/deflate/conformance"
)

func newEncoder() conformance.Encoder { return new(Encoder) }

func TestEncoder(t *testing.T) { conformance.Run(t, newEncoder) }

func FuzzAppend(f *testing.F) { conformance.Fuzz(f, newEncoder) }
