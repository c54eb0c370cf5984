package destination

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/secret"
)

// regionServer is S3 with one bucket. A request that is signed for another region than the bucket's
// is answered by says.
type regionServer struct {
	*Putter
	t     *testing.T
	lives string                                    // the bucket's region
	says  func(http.ResponseWriter, string, string) // arguments: the region asked, the bucket's region
	asked []string                                  // regions asked, in order
}

func newRegionServer(t *testing.T, lives string) *regionServer {
	w := &regionServer{t: t, lives: lives, says: permanentRedirect}
	scope := regexp.MustCompile(`Credential=\w+/\d+/([a-z0-9-]+)/s3/`)
	web := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked := scope.FindStringSubmatch(r.Header.Get("Authorization"))[1]
		w.asked = append(w.asked, asked)
		out.Header().Set("Etag", `"e"`)
		if asked != w.lives {
			w.says(out, asked, w.lives)
		}
	}))
	t.Cleanup(web.Close)
	w.Putter = NewPutter(Config{Open: func(t catalog.Target, _ func(context.Context) (objstore.Credentials, error)) objstore.Store {
		return objstore.NewS3(objstore.S3Config{Bucket: t.BucketName, Region: t.Region, Endpoint: web.URL, PathStyle: true, HTTPClient: web.Client(),
			Credentials: func(context.Context) (objstore.Credentials, error) {
				return objstore.Credentials{AccessKeyID: "AKIA", SecretAccessKey: secret.New("s")}, nil
			}})
	}})
	return w
}

// put returns the regions that were asked.
func (w *regionServer) put(t catalog.Target) ([]string, Result, error) {
	w.asked = nil
	r, err := w.Put(w.t.Context(), t, Object{Key: "segment-logs/web/1.gz", Body: strings.NewReader("x")})
	return w.asked, r, err
}

func (w *regionServer) mustPut(t catalog.Target) ([]string, Result) {
	asked, r, err := w.put(t)
	require.NoError(w.t, err)
	return asked, r
}

func refusal(status int, header map[string]string, code, message string) func(http.ResponseWriter, string, string) {
	return func(w http.ResponseWriter, asked, lives string) {
		fill := strings.NewReplacer("ASKED", asked, "LIVES", lives)
		for k, v := range header {
			w.Header().Set(k, fill.Replace(v))
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, fill.Replace(message))
	}
}

var permanentRedirect = refusal(301, map[string]string{"X-Amz-Bucket-Region": "LIVES"}, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint.")

// All forms in which AWS says where a bucket is are understood.
func TestRegionIsInferred(t *testing.T) {
	for form, says := range map[string]func(http.ResponseWriter, string, string){
		"301":               permanentRedirect,
		"301_location":      refusal(301, map[string]string{"Location": "https://one-logs.s3-LIVES.amazonaws.com/k"}, "PermanentRedirect", ""),
		"307":               refusal(307, map[string]string{"X-Amz-Bucket-Region": "LIVES", "Location": "https://one-logs.s3.LIVES.amazonaws.com/k"}, "TemporaryRedirect", ""),
		"307_location":      refusal(307, map[string]string{"Location": "https://one-logs.s3.LIVES.amazonaws.com/k"}, "TemporaryRedirect", ""),
		"400_header":        refusal(400, map[string]string{"X-Amz-Bucket-Region": "LIVES"}, "AuthorizationHeaderMalformed", ""),
		"400_message":       refusal(400, nil, "AuthorizationHeaderMalformed", "The authorization header is malformed; the region 'ASKED' is wrong; expecting 'LIVES'"),
		"400_other_account": refusal(400, nil, "IllegalLocationConstraintException", "The LIVES location constraint is incompatible for the region specific endpoint this request was sent to."),
	} {
		t.Run(form, func(t *testing.T) {
			w := newRegionServer(t, "ap-south-1")
			w.says = says
			target := catalog.Target{BucketName: "one-logs"}
			asked, r := w.mustPut(target)
			require.Equal(t, []string{"us-east-1", "ap-south-1"}, asked)
			require.Equal(t, "ap-south-1", r.Region)
			require.Equal(t, 2, r.Sends)
			asked, r = w.mustPut(target)
			require.Equal(t, []string{"ap-south-1"}, asked, "cached")
			require.Empty(t, r.Region, "a known region was reported again")
		})
	}
}

func TestFirstRegionIsOfThePartition(t *testing.T) {
	for role, want := range map[string]string{
		"arn:aws:iam::1:role/r": "us-east-1", "arn:aws-cn:iam::1:role/r": "cn-north-1", "arn:aws-us-gov:iam::1:role/r": "us-gov-west-1",
		"arn:aws-eusc:iam::1:role/r": "eusc-de-east-1",
	} {
		require.Equal(t, want, regionOf(catalog.Target{Destination: catalog.Destination{RoleARN: role}}, bucketInfo{}))
	}
}

// The bucket is first looked for in the catalog's region. If that is wrong, the file is delivered
// where the bucket is, and the Result tells it.
func TestWrongCatalogRegionIsCorrected(t *testing.T) {
	w := newRegionServer(t, "eu-west-1")
	target := catalog.Target{Destination: catalog.Destination{Region: "us-west-2"}, BucketName: "one-logs"}
	asked, r := w.mustPut(target)
	require.Equal(t, []string{"us-west-2", "eu-west-1"}, asked)
	require.Equal(t, "eu-west-1", r.Region)
	require.Equal(t, "eu-west-1", w.Region(target))
	asked, _ = w.mustPut(target)
	require.Equal(t, []string{"eu-west-1"}, asked)
}

// Two buckets with the same name may belong to two customers: what was learned of one must not lead
// files into the other.
func TestLearnedRegionIsPerPartition(t *testing.T) {
	w := newRegionServer(t, "eu-west-1")
	w.mustPut(catalog.Target{BucketName: "one-logs"})
	asked, _ := w.mustPut(catalog.Target{Destination: catalog.Destination{Region: "cn-north-1"}, BucketName: "one-logs"})
	require.Equal(t, "cn-north-1", asked[0])
}

func TestMovedBucketIsFollowed(t *testing.T) {
	w := newRegionServer(t, "eu-west-1")
	target := catalog.Target{Destination: catalog.Destination{Region: "eu-west-1"}, BucketName: "one-logs"}
	w.mustPut(target)
	w.lives = "sa-east-1"
	asked, r := w.mustPut(target)
	require.Equal(t, []string{"eu-west-1", "sa-east-1"}, asked)
	require.Equal(t, "sa-east-1", r.Region)
	w.lives = "eu-west-1" // moved back
	asked, r = w.mustPut(target)
	require.Equal(t, []string{"sa-east-1", "eu-west-1"}, asked)
	require.Equal(t, "eu-west-1", r.Region)
}

// While a bucket's move propagates, one region may refer to another that knows better.
func TestStaleRedirectIsFollowedOnce(t *testing.T) {
	w := newRegionServer(t, "eu-central-1")
	w.says = func(out http.ResponseWriter, asked, lives string) {
		if asked == "us-east-1" {
			lives = "eu-west-1" // the bucket's former region
		}
		permanentRedirect(out, asked, lives)
	}
	target := catalog.Target{BucketName: "one-logs"}
	asked, _ := w.mustPut(target)
	require.Equal(t, []string{"us-east-1", "eu-west-1", "eu-central-1"}, asked)
}

func TestRedirectsEnd(t *testing.T) {
	for hazard, says := range map[string]func(http.ResponseWriter, string, string){
		"in_a_circle": func(out http.ResponseWriter, asked, _ string) {
			permanentRedirect(out, asked, map[string]string{"us-east-1": "eu-west-1", "eu-west-1": "us-east-1"}[asked])
		},
		"for_ever": func(out http.ResponseWriter, asked, _ string) { permanentRedirect(out, asked, asked+"x") },
		"nowhere":  refusal(301, nil, "PermanentRedirect", ""),
	} {
		t.Run(hazard, func(t *testing.T) {
			w := newRegionServer(t, "nowhere-1")
			w.says = says
			target := catalog.Target{BucketName: "one-logs"}
			asked, _, err := w.put(target)
			require.ErrorIs(t, err, objstore.ErrWrongRegion)
			require.LessOrEqual(t, len(asked), maxRegions)
			v := Judge(err, target)
			require.Equal(t, "wrong_region", v.Reason)
			require.Contains(t, v.Fix.String(), "region")
		})
	}
}

// FIPS endpoints exist only in the US and Canada: buckets elsewhere cannot be reached by one,
// whoever says where they are.
func TestFIPSFollowsNoRedirectToARegionWithoutFIPS(t *testing.T) {
	fips := catalog.Target{Destination: catalog.Destination{FIPS: true}, BucketName: "one-logs"}
	w := newRegionServer(t, "us-west-2")
	asked, _ := w.mustPut(fips)
	require.Equal(t, []string{"us-east-1", "us-west-2"}, asked)

	w = newRegionServer(t, "eu-west-1")
	for range 2 { // first without knowing the region, then knowing it
		asked, _, err := w.put(fips)
		require.NotContains(t, asked, "eu-west-1")
		v := Judge(err, fips)
		require.Equal(t, "no_fips", v.Reason)
		require.Equal(t, Permanent, v.Class)
		require.Contains(t, v.Cause, `"eu-west-1"`)
		require.Contains(t, v.Fix.String(), "fips: false")
	}
}

// The fix for such a bucket is one of the same name in another region: what was learned of the
// former bucket must not keep anybody from finding it, whoever learned it.
func TestFIPSFindsRecreatedBucket(t *testing.T) {
	for hazard, c := range map[string]struct {
		before bool   // whether FIPS was on when the bucket was in Europe
		region string // in the catalog, now
	}{
		"refused":             {true, ""},
		"refused_and_told":    {true, "us-west-2"},
		"delivered_without":   {false, ""},
		"delivered_then_told": {false, "us-west-2"},
	} {
		t.Run(hazard, func(t *testing.T) {
			target := catalog.Target{Destination: catalog.Destination{FIPS: c.before}, BucketName: "one-logs"}
			w := newRegionServer(t, "eu-west-1")
			_, _, err := w.put(target)
			require.Equal(t, c.before, err != nil)
			w.lives, target.FIPS, target.Region = "us-west-2", true, c.region
			if !c.before { // nothing was asked, because the region was known
				_, _, err = w.put(target)
				require.Equal(t, "no_fips", Judge(err, target).Reason)
			}
			asked, _ := w.mustPut(target)
			require.Equal(t, "us-west-2", asked[len(asked)-1])
		})
	}
}
