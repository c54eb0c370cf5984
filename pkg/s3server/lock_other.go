//go:build !unix

package s3server

import "os"

// lockFile marks the directory; where there is no flock it keeps nobody out.
func lockFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
}
