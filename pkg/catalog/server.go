package catalog

import (
	"cmp"
	"net/netip"
	"net/url"
	"strings"

	"github.com/sealift/sealift/pkg/iam"
)

// Operator is what the catalog needs to know about the operator of Sealift.
type Operator struct {
	// Endpoint is where buckets are whose destinations name no endpoint (destinations.endpoint); ""
	// means at AWS.
	Endpoint string
	// Staging is the operator's own bucket. No destination may use it, because everything in it is
	// taken for Sealift's own. Without a name it is unknown.
	Staging Bucket
}

// Bucket is a bucket and where it is: at an endpoint or, at AWS, in a region.
type Bucket struct{ Name, Region, Endpoint string }

const aws = "aws"

// Server identifies the server behind an endpoint, however the endpoint is written: aws, or
// host:port. All AWS endpoints of a partition, including VPC endpoints, show the same buckets.
func Server(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || endpoint == "" {
		return aws
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if _, isAWS := iam.CutDomain(host); isAWS {
		return aws
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	port := strings.TrimLeft(u.Port(), "0")
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return host + ":" + port
}

// bucket identifies d's bucket among all servers and partitions.
func (o Operator) bucket(d Destination) string {
	name, _ := SplitBucket(d.Bucket)
	d.Endpoint = cmp.Or(d.Endpoint, o.Endpoint)
	at := Server(d.Endpoint)
	if at == aws {
		at = Partition(d) // each partition has its own bucket names
	}
	return at + "/" + name
}

// views returns all buckets that show the contents of d's bucket, each with the folder in which it
// does. A server that is not AWS may also accept a bucket's name in front of its host name; then
// bucket logs at https://acme.store.example is folder logs/ of bucket acme at
// https://store.example.
func (o Operator) views(d Destination) map[string]string {
	out := map[string]string{o.bucket(d): ""}
	server, name, _ := strings.Cut(o.bucket(d), "/")
	end := strings.LastIndexByte(server, ':')
	if end < 0 { // AWS, whose endpoints show all buckets, or are refused
		return out
	}
	host, port := server[:end], server[end:]
	if _, err := netip.ParseAddr(host); err == nil {
		return out
	}
	folder := name + "/"
	if d.Endpoint != "" && d.PathStyle != nil && !*d.PathStyle {
		host, folder = name+"."+host, ""
	}
	for i := range len(host) {
		if host[i] == '.' {
			out[host[i+1:]+port+"/"+host[:i]] = folder
		}
	}
	return out
}

// isStaging reports whether d's files would be stored in the operator's staging bucket, or in a
// folder that shows it.
func (o Operator) isStaging(d Destination) bool {
	s := o.Staging
	if s.Name == "" {
		return false
	}
	_, prefix := SplitBucket(d.Bucket)
	folders := o.views(d)
	for bucket, staging := range (Operator{}).views(Destination{Bucket: s.Name, Region: s.Region, Endpoint: s.Endpoint}) {
		if folder, seen := folders[bucket]; seen && strings.HasPrefix(folder+prefix+"/", staging) {
			return true
		}
	}
	return false
}

// Partition returns the partition of AWS that the destination's bucket is in, if it is at AWS. If
// there is an endpoint of AWS, its host alone decides: requests go there, and it determines the
// signing region, whatever region and role the destination names.
func Partition(d Destination) string {
	if p, ok := endpointPartition(d.Endpoint); ok {
		return p
	}
	return cmp.Or(iam.ARNPartition(d.RoleARN), iam.RegionPartition(d.Region))
}

func endpointPartition(endpoint string) (partition string, ok bool) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", false
	}
	return iam.S3Partition(u.Hostname())
}
