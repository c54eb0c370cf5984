package event

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPixelBody(t *testing.T) {
	const body = `{"writeKey":"k","event":"Email ?> Opened"}`
	encoded := base64.StdEncoding.EncodeToString([]byte(body))
	for hazard, c := range map[string]struct{ query, want string }{
		"padded":          {"data=" + url.QueryEscape(encoded), body},
		"not_padded":      {"data=" + url.QueryEscape(base64.RawStdEncoding.EncodeToString([]byte(body))), body},
		"url_alphabet":    {"data=" + base64.URLEncoding.EncodeToString([]byte(body)), body},
		"plus_not_quoted": {"data=" + encoded, body},
		"plain_json":      {"data=" + url.QueryEscape(body), body},
		"dotted":          {"writeKey=k&userId=u&properties.subject=Hi+%3Cyou%3E&context.campaign.name=c", `{"context":{"campaign":{"name":"c"}},"properties":{"subject":"Hi <you>"},"userId":"u","writeKey":"k"}` + "\n"},
		"path_conflict":   {"a=1&a.b=2", `{"a":"1"}` + "\n"},
		"too_deep":        {strings.Repeat("a.", 32) + "a=1&" + strings.Repeat("b.", 2) + "b=2", `{"b":{"b":{"b":"2"}}}` + "\n"},
		"nothing":         {"", "{}\n"},
	} {
		t.Run(hazard, func(t *testing.T) {
			query, err := url.ParseQuery(c.query)
			require.NoError(t, err)
			got, err := PixelBody(query)
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
	_, err := PixelBody(url.Values{"data": {"!!"}})
	require.Error(t, err)
}
