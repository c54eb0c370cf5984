package event

import (
	"encoding/base64"
	"fmt"
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

// The limit is for all paths together: each element may open an object, and the two bytes that ask
// for it must not become 300 for each of a query's thousands of elements.
func TestPixelBodyBoundsAllPathsTogether(t *testing.T) {
	for hazard, c := range map[string]struct {
		paths, elements int
		want            Reason
	}{
		"few_deep":     {31, 32, ""},
		"many_deep":    {32, 32, ErrEventTooLarge},
		"many_shallow": {1001, 1, ErrEventTooLarge},
		"as_many":      {1000, 1, ""},
		"none_of_them": {1001, 33, ""}, // they are dropped
	} {
		t.Run(hazard, func(t *testing.T) {
			query := url.Values{}
			for i := range c.paths {
				query.Set(fmt.Sprint(i)+strings.Repeat(".a", c.elements-1), "v")
			}
			_, err := PixelBody(query)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var refused *Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, c.want, refused.Reason)
		})
	}
}
