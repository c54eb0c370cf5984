package catalog

import (
	"cmp"
	"net/netip"
	"net/url"
	"strings"

	"github.com/sealift/sealift/pkg/iam"
)

// Operator is what the catalog has to know of whoever runs Sealift.
type Operator struct {
	// Endpoint is where the buckets of destinations that name none are
	// (destinations.endpoint); "": at AWS.
	Endpoint string
	// Staging is the operator's own bucket, which no destination may have: what lies
	// there is read as Sealift's. Without a name it is not known.
	Staging Bucket
}

// Bucket is one, and where it is: the endpoint or, at AWS, the region.
type Bucket struct{ Name, Region, Endpoint string }

const aws = "aws"

// Server names whose buckets an endpoint shows, however it is written: aws, or
// host:port. All of AWS's endpoints of a partition, VPC endpoints too, show the
// same ones.
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

// bucket names d's bucket among all that there are.
func (o Operator) bucket(d Destination) string {
	name, _ := SplitBucket(d.Bucket)
	d.Endpoint = cmp.Or(d.Endpoint, o.Endpoint)
	at := Server(d.Endpoint)
	if at == aws {
		at = Partition(d) // whose buckets have names of their own
	}
	return at + "/" + name
}

// views are the buckets that show what d's holds, each with the folder in which it does:
// a server that is not AWS's may take a bucket's name before its own as well, and then
// bucket logs at https://acme.store.example is folder logs/ of bucket acme at
// https://store.example.
func (o Operator) views(d Destination) map[string]string {
	out := map[string]string{o.bucket(d): ""}
	server, name, _ := strings.Cut(o.bucket(d), "/")
	end := strings.LastIndexByte(server, ':')
	if end < 0 { // AWS, whose hosts show all buckets, or are refused
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

// isStaging tells whether d's files would lie in the operator's own bucket, or in a
// folder that shows it.
func (o Operator) isStaging(d Destination) bool {
	s := o.Staging
	if s.Name == "" {
		return false
	}
	_, prefix := SplitBucket(d.Bucket)
	theirs := o.views(d)
	for bucket, staging := range (Operator{}).views(Destination{Bucket: s.Name, Region: s.Region, Endpoint: s.Endpoint}) {
		if folder, seen := theirs[bucket]; seen && strings.HasPrefix(folder+prefix+"/", staging) {
			return true
		}
	}
	return false
}

// Partition is that of AWS in which the destination's bucket is, if it is at AWS. Of an
// endpoint the host alone says so: it is what is asked, and it answers for which region
// to sign, whatever region and role the destination names.
func Partition(d Destination) string {
	if p, ok := endpointPartition(d.Endpoint); ok {
		return p
	}
	return cmp.Or(iam.PartitionOf(d.RoleARN), iam.Partition(d.Region))
}

func endpointPartition(endpoint string) (partition string, ok bool) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", false
	}
	return iam.S3Partition(u.Hostname())
}
