//go:build !isal

package segment

import "github.com/sealift/sealift/pkg/deflate"

// encoder is level 1.
type encoder = deflate.Encoder
