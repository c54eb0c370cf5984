package delivery

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommonCause(t *testing.T) {
	const denied = `s3:PutObject into bucket "acme-logs" is denied (403 AccessDenied: User: arn:aws:sts::123456789012:assumed-role/segment-logs/sealift ` +
		`is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::acme-logs/path/segment-logs/`
	for hazard, causes := range map[string]struct{ one, common string }{
		"resource": {denied + `web/1795305600000/1795357812345.0123456789ab.9f86d08.5ea11f7d-0b1e-5c7a-9d3f-6b1f2a3c4d5e.gz" because no session policy allows the s3:PutObject action)`,
			denied + `…" because no session policy allows the s3:PutObject action)`},
		"object": {`put object "path/segment-logs/web/1795305600000/x.gz" in bucket "acme-logs": store unavailable (500 InternalError: We encountered an internal error.)`,
			`put object … in bucket "acme-logs": store unavailable (500 InternalError: We encountered an internal error.)`},
		"object_with_quotes": {`put object "a\"b" in bucket "acme-logs": request refused`, `put object … in bucket "acme-logs": request refused`},
		"staged":             {`staged object "data/sealift.events/1/3/packs/0000000000000000042/1000-4999-9f86d081884c7d65.gz" is missing`, `staged object … is missing`},
		"connection":         {`the connection broke: read tcp 10.0.0.7:53422->52.218.1.2:443: connection reset by peer`, `the connection broke: read tcp …->…: connection reset by peer`},
		"connection_ipv6":    {`dial tcp [2600:1fa0::1]:443: i/o timeout`, `dial tcp …: i/o timeout`},
		"request_id_of_kms":  {`arn:aws:kms:eu-west-1:123456789012:key/1 is disabled. (Service: AWSKMS; Status Code: 400; Request ID: 9f86d081-884c; Proxy: null)`, `arn:aws:kms:eu-west-1:123456789012:key/1 is disabled. (Service: AWSKMS; Status Code: 400; Request ID: …; Proxy: null)`},
		"request_id_of_sts":  {`https response error StatusCode: 503, RequestID: 9f86d081-884c, api error ServiceUnavailable`, `https response error StatusCode: 503, RequestID: …, api error ServiceUnavailable`},
		"duration":           {`no answer in time: put object "x": not done within 1m30.022s: context deadline exceeded`, `no answer in time: put object …: not done within …: context deadline exceeded`},
		"nothing":            {`bucket "acme-logs" does not exist`, `bucket "acme-logs" does not exist`},
		"role_and_bucket":    {`assume role "arn:aws:iam::123456789012:role/segment-logs" with external id "ws_1": role refused (403)`, `assume role "arn:aws:iam::123456789012:role/segment-logs" with external id "ws_1": role refused (403)`},
	} {
		t.Run(hazard, func(t *testing.T) {
			p := Parked{Cause: causes.one}
			require.Equal(t, causes.common, p.CommonCause())
			require.Equal(t, causes.one, p.Cause)
		})
	}
}
