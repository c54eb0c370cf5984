package s3server

import (
	"crypto/md5"  //nolint:gosec // S3's ETag and Content-MD5
	"crypto/sha1" //nolint:gosec // one of S3's checksums
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strings"
)

// algorithms are S3's checksums by name, as in x-amz-checksum-{name}.
var algorithms = map[string]func() hash.Hash{
	"crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"crc64nvme": func() hash.Hash { return crc64.New(crc64NVME) },
	"sha1":      sha1.New,
	"sha256":    sha256.New,
}

// crc64NVME is the polynomial of the NVM Express specification, reversed.
var crc64NVME = crc64.MakeTable(0x9a6c9329ac4bc9b5)

const checksumPrefix = "x-amz-checksum-"

// digests computes everything that a PUT's body is verified with.
type digests struct {
	md5       hash.Hash
	wantMD5   string // base64, "" for none
	algorithm string // "" for none
	sum       hash.Hash
	want      string // base64; "" if it comes in a trailer
}

// newDigests reads which checksums a request declares.
func newDigests(r *request) (*digests, *apiError) {
	d := &digests{md5: md5.New(), wantMD5: r.Header.Get("Content-Md5")} //nolint:gosec // see above
	if d.wantMD5 != "" {
		if raw, err := base64.StdEncoding.DecodeString(d.wantMD5); err != nil || len(raw) != md5.Size {
			return nil, apiErrorf(http.StatusBadRequest, "InvalidDigest", "The Content-MD5 you specified is not valid.")
		}
	}
	for name := range r.Header {
		algorithm, ok := strings.CutPrefix(strings.ToLower(name), checksumPrefix)
		if !ok || algorithm == "type" || algorithm == "mode" || algorithm == "algorithm" {
			continue
		}
		if d.algorithm != "" {
			return nil, apiErrorf(http.StatusBadRequest, "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		d.algorithm, d.want = algorithm, r.Header.Get(name)
	}
	if trailer := strings.ToLower(strings.TrimSpace(r.Header.Get("X-Amz-Trailer"))); trailer != "" {
		algorithm, ok := strings.CutPrefix(trailer, checksumPrefix)
		if !ok || d.algorithm != "" {
			return nil, apiErrorf(http.StatusBadRequest, "InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
		}
		d.algorithm = algorithm
	}
	if d.algorithm == "" {
		return d, nil
	}
	create := algorithms[d.algorithm]
	if create == nil {
		return nil, apiErrorf(http.StatusBadRequest, "InvalidRequest", "Checksum algorithm %q is not supported", d.algorithm)
	}
	d.sum = create()
	if raw, err := base64.StdEncoding.DecodeString(d.want); d.want != "" && (err != nil || len(raw) != d.sum.Size()) {
		return nil, apiErrorf(http.StatusBadRequest, "InvalidRequest", "Value for x-amz-checksum-%s header is invalid.", d.algorithm)
	}
	return d, nil
}

// writer returns a writer that hashes the body and writes it to file.
func (d *digests) writer(file io.Writer) io.Writer {
	if d.sum == nil {
		return io.MultiWriter(file, d.md5)
	}
	return io.MultiWriter(file, d.md5, d.sum)
}

// verify compares the declared checksums, from headers or trailers, with those of the body.
func (d *digests) verify(trailers map[string]string) *apiError {
	if d.wantMD5 != "" && d.wantMD5 != base64.StdEncoding.EncodeToString(d.md5.Sum(nil)) {
		return apiErrorf(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.")
	}
	if d.sum == nil {
		return nil
	}
	want := d.want
	if want == "" {
		want = trailers[checksumPrefix+d.algorithm]
	}
	if want != base64.StdEncoding.EncodeToString(d.sum.Sum(nil)) {
		return apiErrorf(http.StatusBadRequest, "BadDigest", "The %s you specified did not match the calculated checksum.", strings.ToUpper(d.algorithm))
	}
	return nil
}

// etag returns the MD5 of the body or, as S3 does with SSE-KMS, something that only looks like one.
func (d *digests) etag(keyed bool) string {
	sum := d.md5.Sum(nil)
	if keyed {
		sum[0] ^= 0xff
	}
	return hex.EncodeToString(sum)
}

// checksums returns the checksums to keep with the object.
func (d *digests) checksums() map[string]string {
	if d.sum == nil {
		return nil
	}
	return map[string]string{d.algorithm: base64.StdEncoding.EncodeToString(d.sum.Sum(nil))}
}
