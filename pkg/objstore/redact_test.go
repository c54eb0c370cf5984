package objstore

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRedact(t *testing.T) {
	h := http.Header{
		"Authorization":        {"AWS4-HMAC-SHA256 Credential=AKIA/20261122/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=sEcReT0123"},
		"X-Amz-Security-Token": {"sEcReT//+=="},
	}
	asJSON, err := json.Marshal(h)
	require.NoError(t, err)
	query := url.Values{"X-Amz-Signature": {"sEcReT"}, "X-Amz-Security-Token": {"sEcReT+/="}, "x-id": {"PutObject"}}.Encode()
	for hazard, message := range map[string]string{
		"header":      "denied: Authorization: " + h.Get("Authorization") + ", x-amz-security-token: sEcReT//+==, Host: h",
		"go":          fmt.Sprint(h),
		"json":        string(asJSON),
		"presigned":   "GET https://b.s3.amazonaws.com/k?" + query + " failed",
		"single":      "'X-Amz-Security-Token': 'sEcReT'",
		"xml_escaped": "X-Amz-Signature=sEcReT&amp;x-id=PutObject",
	} {
		out := Redact(message)
		require.NotContains(t, out, "sEcReT", hazard)
		require.Contains(t, out, "***", hazard)
	}
	require.Contains(t, Redact("?"+query), "x-id=PutObject")
	for _, plain := range []string{
		"The request signature we calculated does not match the signature you provided. Check your key and signing method.",
		`User: arn:aws:sts::111111111111:assumed-role/x is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k"`,
		"The security token included in the request is invalid.", "",
	} {
		require.Equal(t, plain, Redact(plain))
	}
}
