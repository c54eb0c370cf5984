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
	t                 *testing.T
	home              string                                    // the bucket's region
	answerWrongRegion func(http.ResponseWriter, string, string) // arguments: the region asked, the bucket's region
	requested         []string                                  // regions asked, in order
}

func newRegionServer(t *testing.T, home string) *regionServer {
	w := &regionServer{t: t, home: home, answerWrongRegion: permanentRedirect}
	scope := regexp.MustCompile(`Credential=\w+/\d+/([a-z0-9-]+)/s3/`)
	web := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		requested := scope.FindStringSubmatch(r.Header.Get("Authorization"))[1]
		w.requested = append(w.requested, requested)
		out.Header().Set("Etag", `"e"`)
		if requested != w.home {
			w.answerWrongRegion(out, requested, w.home)
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
	w.requested = nil
	r, err := w.Put(w.t.Context(), t, Object{Key: "segment-logs/web/1.gz", Body: strings.NewReader("x")})
	return w.requested, r, err
}

func (w *regionServer) mustPut(t catalog.Target) ([]string, Result) {
	requested, r, err := w.put(t)
	require.NoError(w.t, err)
	return requested, r
}

func refusal(status int, header map[string]string, code, message string) func(http.ResponseWriter, string, string) {
	return func(w http.ResponseWriter, requested, home string) {
		fill := strings.NewReplacer("REQUESTED", requested, "HOME", home)
		for k, v := range header {
			w.Header().Set(k, fill.Replace(v))
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, fill.Replace(message))
	}
}

var permanentRedirect = refusal(301, map[string]string{"X-Amz-Bucket-Region": "HOME"}, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint.")

// All forms in which AWS says where a bucket is are understood.
func TestRegionIsInferred(t *testing.T) {
	for form, answer := range map[string]func(http.ResponseWriter, string, string){
		"301":               permanentRedirect,
		"301_location":      refusal(301, map[string]string{"Location": "https://one-logs.s3-HOME.amazonaws.com/k"}, "PermanentRedirect", ""),
		"307":               refusal(307, map[string]string{"X-Amz-Bucket-Region": "HOME", "Location": "https://one-logs.s3.HOME.amazonaws.com/k"}, "TemporaryRedirect", ""),
		"307_location":      refusal(307, map[string]string{"Location": "https://one-logs.s3.HOME.amazonaws.com/k"}, "TemporaryRedirect", ""),
		"400_header":        refusal(400, map[string]string{"X-Amz-Bucket-Region": "HOME"}, "AuthorizationHeaderMalformed", ""),
		"400_message":       refusal(400, nil, "AuthorizationHeaderMalformed", "The authorization header is malformed; the region 'REQUESTED' is wrong; expecting 'HOME'"),
		"400_other_account": refusal(400, nil, "IllegalLocationConstraintException", "The HOME location constraint is incompatible for the region specific endpoint this request was sent to."),
	} {
		t.Run(form, func(t *testing.T) {
			w := newRegionServer(t, "ap-south-1")
			w.answerWrongRegion = answer
			target := catalog.Target{BucketName: "one-logs"}
			requested, r := w.mustPut(target)
			require.Equal(t, []string{"us-east-1", "ap-south-1"}, requested)
			require.Equal(t, "ap-south-1", r.Region)
			require.Equal(t, 2, r.Sends)
			requested, r = w.mustPut(target)
			require.Equal(t, []string{"ap-south-1"}, requested, "cached")
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
	requested, r := w.mustPut(target)
	require.Equal(t, []string{"us-west-2", "eu-west-1"}, requested)
	require.Equal(t, "eu-west-1", r.Region)
	require.Equal(t, "eu-west-1", w.Region(target))
	requested, _ = w.mustPut(target)
	require.Equal(t, []string{"eu-west-1"}, requested)
}

// Two buckets with the same name may belong to two customers: what was learned of one must not lead
// files into the other.
func TestLearnedRegionIsPerPartition(t *testing.T) {
	w := newRegionServer(t, "eu-west-1")
	w.mustPut(catalog.Target{BucketName: "one-logs"})
	requested, _ := w.mustPut(catalog.Target{Destination: catalog.Destination{Region: "cn-north-1"}, BucketName: "one-logs"})
	require.Equal(t, "cn-north-1", requested[0])
}

func TestMovedBucketIsFollowed(t *testing.T) {
	w := newRegionServer(t, "eu-west-1")
	target := catalog.Target{Destination: catalog.Destination{Region: "eu-west-1"}, BucketName: "one-logs"}
	w.mustPut(target)
	w.home = "sa-east-1"
	requested, r := w.mustPut(target)
	require.Equal(t, []string{"eu-west-1", "sa-east-1"}, requested)
	require.Equal(t, "sa-east-1", r.Region)
	w.home = "eu-west-1" // moved back
	requested, r = w.mustPut(target)
	require.Equal(t, []string{"sa-east-1", "eu-west-1"}, requested)
	require.Equal(t, "eu-west-1", r.Region)
}

// While a bucket's move propagates, one region may refer to another that knows better.
func TestStaleRedirectIsFollowedOnce(t *testing.T) {
	w := newRegionServer(t, "eu-central-1")
	w.answerWrongRegion = func(out http.ResponseWriter, requested, home string) {
		if requested == "us-east-1" {
			home = "eu-west-1" // the bucket's former region
		}
		permanentRedirect(out, requested, home)
	}
	target := catalog.Target{BucketName: "one-logs"}
	requested, _ := w.mustPut(target)
	require.Equal(t, []string{"us-east-1", "eu-west-1", "eu-central-1"}, requested)
}

func TestRedirectsEnd(t *testing.T) {
	for hazard, answer := range map[string]func(http.ResponseWriter, string, string){
		"in_a_circle": func(out http.ResponseWriter, requested, _ string) {
			permanentRedirect(out, requested, map[string]string{"us-east-1": "eu-west-1", "eu-west-1": "us-east-1"}[requested])
		},
		"forever": func(out http.ResponseWriter, requested, _ string) { permanentRedirect(out, requested, requested+"x") },
		"nowhere": refusal(301, nil, "PermanentRedirect", ""),
	} {
		t.Run(hazard, func(t *testing.T) {
			w := newRegionServer(t, "nowhere-1")
			w.answerWrongRegion = answer
			target := catalog.Target{BucketName: "one-logs"}
			requested, _, err := w.put(target)
			require.ErrorIs(t, err, objstore.ErrWrongRegion)
			require.LessOrEqual(t, len(requested), maxRegions)
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
	requested, _ := w.mustPut(fips)
	require.Equal(t, []string{"us-east-1", "us-west-2"}, requested)

	w = newRegionServer(t, "eu-west-1")
	for range 2 { // first without knowing the region, then knowing it
		requested, _, err := w.put(fips)
		require.NotContains(t, requested, "eu-west-1")
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
		"refused":                   {true, ""},
		"refused_then_region_set":   {true, "us-west-2"},
		"delivered_without_fips":    {false, ""},
		"delivered_then_region_set": {false, "us-west-2"},
	} {
		t.Run(hazard, func(t *testing.T) {
			target := catalog.Target{Destination: catalog.Destination{FIPS: c.before}, BucketName: "one-logs"}
			w := newRegionServer(t, "eu-west-1")
			_, _, err := w.put(target)
			require.Equal(t, c.before, err != nil)
			w.home, target.FIPS, target.Region = "us-west-2", true, c.region
			if !c.before { // nothing was asked, because the region was known
				_, _, err = w.put(target)
				require.Equal(t, "no_fips", Judge(err, target).Reason)
			}
			requested, _ := w.mustPut(target)
			require.Equal(t, "us-west-2", requested[len(requested)-1])
		})
	}
}
