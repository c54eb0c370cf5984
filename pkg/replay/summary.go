package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/minio/crc64nvme"

	"github.com/sealift/sealift/pkg/ledger"
)

// Summary is what the ledger records about a file's lines, regardless of how they are compressed.
type Summary struct {
	Records  int64
	RawBytes int64
	RawCRC64 string
}

// SummaryOf returns what the ledger says.
func SummaryOf(f *ledger.File) Summary {
	return Summary{Records: f.Records, RawBytes: f.RawBytes, RawCRC64: f.RawCRC64}
}

// MaxBytes is an upper bound for the size of an object with the file's lines, however poorly they
// compress.
func MaxBytes(f *ledger.File) int64 { return f.RawBytes + f.RawBytes/100 + 1<<20 }

func (s Summary) String() string {
	return fmt.Sprintf("%d records in %d bytes with CRC %s", s.Records, s.RawBytes, s.RawCRC64)
}

// Summarize reads an object: one gzip member with lines that each end in a newline. It inflates at
// most most+1 bytes; reaching that is an error, as with a gzip bomb.
func Summarize(r io.Reader, most int64) (Summary, error) {
	in := bufio.NewReader(r)
	z, err := gzip.NewReader(in)
	if err != nil {
		return Summary{}, fmt.Errorf("read gzip: %w", err)
	}
	z.Multistream(false)
	lines := io.LimitReader(z, most+1)
	var s Summary
	var crc uint64
	whole := true // the last line read so far has ended
	buf := make([]byte, 128<<10)
	for {
		n, err := lines.Read(buf)
		if n > 0 {
			crc = crc64nvme.Update(crc, buf[:n])
			s.RawBytes += int64(n)
			s.Records += int64(bytes.Count(buf[:n], []byte{'\n'}))
			whole = bytes.HasSuffix(buf[:n], []byte{'\n'})
		}
		if s.RawBytes > most {
			return Summary{}, fmt.Errorf("its lines have more than %d bytes", most)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Summary{}, fmt.Errorf("read gzip: %w", err)
		}
	}
	if _, err := in.Peek(1); err == nil {
		return Summary{}, errors.New("there are bytes after its first gzip member")
	}
	if !whole {
		return Summary{}, errors.New("the last line has no end")
	}
	s.RawCRC64 = fmt.Sprintf("%016x", crc)
	return s, nil
}
