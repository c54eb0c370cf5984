//go:build isal

package segment

import "github.com/sealift/sealift/pkg/igzip"

// encoder serves level 1.
type encoder = igzip.Encoder
