//go:build isal

package igzip

import (
	"testing"

	"github.com/sealift/sealift/pkg/deflate/conformance"
)

func fresh() conformance.Encoder { return new(Encoder) }

func TestEncoder(t *testing.T) { conformance.Run(t, fresh) }

func FuzzAppend(f *testing.F) { conformance.Fuzz(f, fresh) }
