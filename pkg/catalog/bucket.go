package catalog

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/sealift/sealift/pkg/iam"
)

// SplitBucket splits a destination's bucket into the bucket's name and the key prefix, which
// neither begins nor ends with a slash.
func SplitBucket(bucket string) (name, prefix string) {
	name, prefix, _ = strings.Cut(bucket, "/")
	return name, strings.Trim(prefix, "/")
}

var (
	bucketName    = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixSegment = regexp.MustCompile(`^[A-Za-z0-9!_.'()=@:,+~-]+$`)
)

// IsBucketName reports whether name could be a bucket's, judging by its length and characters.
func IsBucketName(name string) bool { return bucketName.MatchString(name) }

// maxPrefix leaves room in S3's 1,024 bytes of key for segment-logs, the
// longest source id, the day and the file's name.
const maxPrefix = 512

// checkBucket returns what is wrong with a destination's bucket and the fix,
// or "".
func checkBucket(bucket string) (what, fix string) {
	if bucket == "" {
		return "it is missing", "write the bucket's name, with a key prefix if wanted: acme-logs/path/prefix"
	}
	if what, fix := checkForeignBucket(bucket); what != "" {
		return what, fix
	}
	return checkOwnForm(bucket)
}

// checkOwnForm checks name[/prefix].
func checkOwnForm(bucket string) (what, fix string) {
	name, rest, _ := strings.Cut(bucket, "/")
	if what, fix := checkBucketName(name); what != "" || rest == "" {
		return what, fix
	}
	return checkPrefix(name, rest)
}

func checkBucketName(name string) (what, fix string) {
	what = fmt.Sprintf("%q is not a bucket's name", name)
	switch {
	case strings.ContainsAny(name, "*?$"):
		return fmt.Sprintf("%q holds a wildcard", name), "name one bucket"
	case bucketName.MatchString(strings.ToLower(name)) && !bucketName.MatchString(name):
		return what, "bucket names are lower case; is it " + strings.ToLower(name) + "?"
	case !bucketName.MatchString(name), strings.Contains(name, ".."):
		return what, "use 3 to 63 of a-z 0-9 . - that begin and end with a letter or digit"
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Sprintf("%q is an IP address", name), "write the bucket's name here, and the server as endpoint"
	}
	for _, s := range []string{"-s3alias", "--ol-s3", "--x-s3", ".mrap", "--table-s3"} {
		if strings.HasSuffix(name, s) {
			return fmt.Sprintf("%q is an access point or a special kind of bucket", name), "name a general purpose bucket"
		}
	}
	return "", ""
}

func checkPrefix(name, rest string) (what, fix string) {
	prefix := strings.TrimSuffix(rest, "/")
	if len(prefix) > maxPrefix {
		return fmt.Sprintf("the key prefix has %d bytes", len(prefix)), fmt.Sprintf("use at most %d", maxPrefix)
	}
	for s := range strings.SplitSeq(prefix, "/") {
		switch {
		case s == "":
			return fmt.Sprintf("%q has an empty part in its key prefix", name+"/"+rest), "write single slashes"
		case s == "." || s == "..":
			return fmt.Sprintf("the key prefix holds %q", s), "write the whole prefix without it"
		case strings.ContainsAny(s, "*?") || strings.Contains(s, "${"):
			return fmt.Sprintf("the key prefix holds a wildcard in %q, which would widen IAM policies", s), "remove it"
		case !prefixSegment.MatchString(s):
			return fmt.Sprintf("the key prefix holds characters in %q that S3 clients treat differently", s), "use A-Z a-z 0-9 and ! _ . ' ( ) = @ : , + ~ - between slashes"
		}
	}
	return "", ""
}

// checkForeignBucket recognises other common ways to name a bucket, and says how to write them
// here.
func checkForeignBucket(s string) (what, fix string) {
	if rest, ok := strings.CutPrefix(s, "arn:"); ok {
		parts := strings.SplitN(rest, ":", 5)
		if len(parts) == 5 && parts[1] == "s3" && parts[2] == "" {
			return fmt.Sprintf("%q is an ARN", s), writeBucket(strings.TrimSuffix(parts[4], "*"))
		}
		return fmt.Sprintf("%q is an ARN", s), "write the bucket's name; access points are not supported"
	}
	if strings.HasPrefix(s, "/") {
		return fmt.Sprintf("%q begins with a slash", s), writeBucket(s)
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		host, path, _ := strings.Cut(s, "/")
		if _, isAWS := iam.CutDomain(host); isAWS {
			return fmt.Sprintf("%q is a host name", s), writeBucket(fromHost(host, path))
		}
		return "", ""
	}
	what = fmt.Sprintf("%q is a URI", s)
	switch strings.ToLower(scheme) {
	case "s3", "s3a", "s3n":
		return what, writeBucket(rest)
	case "http", "https":
		u, err := url.Parse(s)
		if err != nil {
			return what, "write the bucket's name"
		}
		if strings.HasSuffix(u.Hostname(), "console.aws.amazon.com") {
			_, name, _ := strings.Cut(strings.TrimSuffix(u.Path, "/"), "/s3/buckets/")
			return what, writeBucket(name + "/" + u.Query().Get("prefix"))
		}
		fix := writeBucket(fromHost(u.Hostname(), u.Path))
		if _, isAWS := iam.CutDomain(u.Hostname()); !isAWS {
			fix += ", and endpoint: " + u.Scheme + "://" + u.Host
		}
		return what, fix
	}
	return what, "only S3 buckets are delivered to; write the bucket's name"
}

// fromHost reads bucket and prefix from a virtual-hosted or path-style
// address.
func fromHost(host, path string) string {
	path = strings.TrimPrefix(path, "/")
	if _, isAWS := iam.CutDomain(host); !isAWS {
		return path
	}
	for _, mark := range []string{".s3.", ".s3-"} {
		if i := strings.Index(host, mark); i > 0 {
			return host[:i] + "/" + path
		}
	}
	return path
}

// writeBucket returns the hint to write s, if that would be accepted, otherwise a general one.
func writeBucket(s string) string {
	s = strings.Trim(s, "/")
	if what, _ := checkOwnForm(s); what != "" {
		return "write the bucket's name, with a key prefix if wanted: acme-logs/path/prefix"
	}
	return "write bucket: " + s
}
