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
}

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

// buckets names where d's bucket is: no two buckets there have the same name.
func (o Operator) buckets(d Destination) string {
	d.Endpoint = cmp.Or(d.Endpoint, o.Endpoint)
	if at := Server(d.Endpoint); at != aws {
		return at
	}
	return Partition(d)
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
