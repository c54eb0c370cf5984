//go:build !isal

package segment

import "github.com/sealift/sealift/pkg/deflate"

// encoder serves level 1.
type encoder = deflate.Encoder
