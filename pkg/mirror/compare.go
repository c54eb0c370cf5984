package mirror

import (
	"bufio"
	"context"
	"crypto/md5" //nolint:gosec // S3's ETag
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"regexp"

	"github.com/sealift/sealift/pkg/objstore"
)

// errDiffers says that something else has the file's name.
var errDiffers = errors.New("what is there is not the object")

// localState is what a look at the folder tells about a file.
type localState int

const (
	stateAbsent      localState = iota
	stateSame                   // its size and time are the object's
	stateTimeDiffers            // its bytes have to be compared
	stateOccupied               // something else has its name; the error says what
)

// statLocal compares what costs nothing: size and time, as `aws s3 sync` does.
func (o SyncOptions) statLocal(path string, f File) (localState, error) {
	info, err := os.Stat(path)
	if err != nil {
		if _, is := os.Lstat(path); is == nil { // also a loop, or one into a folder that may not be read
			return stateOccupied, fmt.Errorf("%w: it is a link to nowhere", errDiffers)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stateAbsent, nil
	case err != nil:
		return stateAbsent, asDiskError(err)
	case !info.Mode().IsRegular():
		return stateOccupied, fmt.Errorf("%w: it is no file", errDiffers)
	case !o.Decompress && info.Size() != f.Size:
		return stateOccupied, fmt.Errorf("%w: it has %d bytes, the object %d", errDiffers, info.Size(), f.Size)
	case info.ModTime().Unix() == f.modified().Unix():
		return stateSame, nil
	}
	return stateTimeDiffers, nil
}

// compare reads an existing file if its time does not match, for example after it was copied or
// edited. If it is the object, it gets the object's time, so that it need not be read again.
func (o SyncOptions) compare(ctx context.Context, r objstore.Reader, path string, f File) error {
	local, err := os.Open(path)
	if err != nil {
		return asDiskError(err)
	}
	defer local.Close()
	compareContent := compareBytes
	if o.Decompress {
		compareContent = compareLines
	}
	if err := compareContent(ctx, r, local, f); err != nil {
		return err
	}
	_ = os.Chtimes(path, f.modified(), f.modified()) // perhaps we have no permission
	return nil
}

// plainMD5 matches an ETag that may be the MD5 of the bytes.
var plainMD5 = regexp.MustCompile(`^[0-9a-f]{32}$`)

// compareBytes compares a file with what is known about the object's bytes: its sha256, or the MD5
// that most objects without one have as their ETag. If there is neither, for example because the
// object was uploaded in parts or is encrypted with a KMS key, it compares gzip's trailers, and the
// file's content with its own.
func compareBytes(ctx context.Context, r objstore.Reader, local *os.File, f File) error {
	info, err := r.Head(ctx, f.Key)
	if err != nil {
		return err
	}
	var sum hash.Hash
	want := info.Metadata["sha256"]
	switch {
	case hexSum.MatchString(want):
		sum = sha256.New()
	case plainMD5.MatchString(info.ETag) && !info.KeyedETag:
		sum, want = md5.New(), info.ETag //nolint:gosec // S3's ETag
	default:
		return compareGzip(ctx, r, local, f)
	}
	if _, err := io.Copy(sum, local); err != nil {
		return asDiskError(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("%w: it has the same size, and other bytes", errDiffers)
	}
	return nil
}

// trailerSize is the number of bytes at the end of a gzip file that hold the CRC-32 and the length
// of its content.
const trailerSize = 8

// readTrailer reads the object's trailer.
func readTrailer(ctx context.Context, r objstore.Reader, f File) (end [trailerSize]byte, err error) {
	if f.Size < trailerSize {
		return end, fmt.Errorf("%w: the object is no gzip file", errDiffers)
	}
	d := newFetch(ctx, r, f, nil)
	defer d.Close()
	d.offset, d.etag = f.Size-trailerSize, f.ETag
	_, err = io.ReadFull(d, end[:])
	return end, err
}

// compareGzip compares a gzip file that has the object's size by its trailer.
func compareGzip(ctx context.Context, r objstore.Reader, local *os.File, f File) error {
	end, err := readTrailer(ctx, r, f)
	if err != nil {
		return err
	}
	var own [trailerSize]byte
	if _, err := local.ReadAt(own[:], f.Size-trailerSize); err != nil {
		return asDiskError(err)
	}
	if own == end {
		err = verifyGzip(local)
	}
	if own != end || errors.Is(err, errCorrupt) {
		return fmt.Errorf("%w: it has the same size, and other bytes", errDiffers)
	}
	return asDiskError(err)
}

// compareLines compares a decompressed file with the trailer of the gzip object.
func compareLines(ctx context.Context, r objstore.Reader, local *os.File, f File) error {
	end, err := readTrailer(ctx, r, f)
	if err != nil {
		return err
	}
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, bufio.NewReaderSize(local, bufferSize))
	if err != nil {
		return asDiskError(err)
	}
	if sum.Sum32() != binary.LittleEndian.Uint32(end[:]) || uint32(n) != binary.LittleEndian.Uint32(end[4:]) {
		return fmt.Errorf("%w: its lines are others", errDiffers)
	}
	return nil
}
