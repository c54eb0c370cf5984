package verify

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/minio/crc64nvme"

	"github.com/sealift/sealift/pkg/ledger"
)

// maxLine bounds a line: Kafka's limit for a record.
const maxLine = 16 << 20 // 16 MiB

// readAttempts is how often reading a body is tried.
const readAttempts = 3

// checkBodyWithRetries reads what open opens, and says what of it does not match the ledger. An
// error is the store's, and means that nothing is known.
func checkBodyWithRetries(ctx context.Context, open func() (io.ReadCloser, error), f *ledger.File) (mismatches []string, err error) {
	for range readAttempts {
		var body io.ReadCloser
		if body, err = open(); err != nil {
			return nil, err
		}
		mismatches, err = checkBody(body, f)
		_ = body.Close()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return mismatches, err
}

// checkBody reads the stored bytes of a file and says what does not match the ledger. An error is
// the reader's, and means that nothing is known.
//
// Invariant: not more than the number of bytes in the ledger, plus one, is read or inflated:
// whoever can write to a bucket may have left a gzip bomb there.
func checkBody(stored io.Reader, f *ledger.File) (mismatches []string, err error) {
	in := &hashingReader{r: io.LimitReader(stored, f.GzipBytes+1), sum: sha256.New()}
	buffered := bufio.NewReaderSize(in, 256<<10)
	lines, raw, crc, contentErr := readLines(buffered, f.RawBytes)
	if _, err := io.Copy(io.Discard, buffered); err != nil && in.err == nil {
		in.err = err
	}
	// A client that verifies the store's own checksum returns an error after the last byte. Then
	// all bytes are here, and can be judged.
	if in.err != nil && in.n < f.GzipBytes {
		return nil, in.err
	}
	if in.n > f.GzipBytes {
		return []string{fmt.Sprintf("it has more than the %d bytes that the ledger says", f.GzipBytes)}, nil
	}
	if in.n != f.GzipBytes {
		mismatches = append(mismatches, fmt.Sprintf("it has %d bytes, the ledger says %d", in.n, f.GzipBytes))
	}
	if sum := hex.EncodeToString(in.sum.Sum(nil)); sum != f.SHA256 {
		mismatches = append(mismatches, fmt.Sprintf("its sha256 is %s, the ledger says %s", sum, f.SHA256))
	}
	if contentErr != nil {
		return append(mismatches, contentErr.Error()), nil
	}
	if lines != f.Records {
		mismatches = append(mismatches, fmt.Sprintf("it has %d lines, the ledger says %d records", lines, f.Records))
	}
	if raw != f.RawBytes {
		mismatches = append(mismatches, fmt.Sprintf("its lines have %d bytes, the ledger says %d", raw, f.RawBytes))
	}
	if got := fmt.Sprintf("%016x", crc); got != f.RawCRC64 {
		mismatches = append(mismatches, fmt.Sprintf("the CRC-64 of its lines is %s, the ledger says %s", got, f.RawCRC64))
	}
	return mismatches, nil
}

// readLines reads the one gzip member of a file, up to maxBytes bytes of lines; its error says what
// is wrong with the bytes.
func readLines(stored *bufio.Reader, maxBytes int64) (lines, raw int64, crc uint64, err error) {
	z, err := gzip.NewReader(stored)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("it is not gzip: %w", err)
	}
	z.Multistream(false)
	sum := crc64nvme.New()
	in := bufio.NewReaderSize(io.LimitReader(z, maxBytes+1), 256<<10)
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		_, _ = sum.Write(part)
		raw += int64(len(part))
		switch {
		case raw > maxBytes:
			return 0, 0, 0, fmt.Errorf("its lines have more than the %d bytes that the ledger says", maxBytes)
		case errors.Is(err, bufio.ErrBufferFull):
			if long = append(long, part...); len(long) > maxLine {
				return 0, 0, 0, fmt.Errorf("line %d has more than %d bytes", lines+1, maxLine)
			}
			continue
		case errors.Is(err, io.EOF) && len(part)+len(long) > 0:
			return 0, 0, 0, fmt.Errorf("line %d has no newline", lines+1)
		case errors.Is(err, io.EOF):
			if _, err := stored.Peek(1); err == nil {
				return 0, 0, 0, errors.New("there are bytes after its first gzip member")
			}
			if lines == 0 {
				return 0, 0, 0, errors.New("it has no lines")
			}
			return lines, raw, sum.Sum64(), nil
		case err != nil:
			return 0, 0, 0, fmt.Errorf("it cannot be decompressed after line %d: %w", lines, err)
		}
		line := part
		if len(long) > 0 {
			line = append(long, part...)
			long = long[:0]
		}
		lines++
		if line[0] != '{' || !json.Valid(line) {
			return 0, 0, 0, fmt.Errorf("line %d is not one JSON object", lines)
		}
	}
}

// hashingReader counts and hashes what is read, and keeps errors of the reader apart from those of
// the content.
type hashingReader struct {
	r   io.Reader
	n   int64
	sum hash.Hash
	err error
}

func (d *hashingReader) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.n += int64(n)
	d.sum.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		d.err = err
	}
	return n, err
}
