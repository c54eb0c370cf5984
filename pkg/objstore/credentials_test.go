package objstore_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

// Keys that are replaced in a shared file are read again by running processes.
func TestSharedFileKeysAreReread(t *testing.T) {
	profile := func(key string) string {
		return "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = s\n"
	}
	for hazard, c := range map[string]struct {
		env   string
		later func(file string) error
		want  string
	}{
		"replaced":     {later: func(file string) error { return os.WriteFile(file, []byte(profile("NEW")), 0o600) }, want: "NEW"},
		"half_written": {later: func(file string) error { return os.WriteFile(file, []byte(profile("NEW")[:30]), 0o600) }, want: "OLD"},
		"gone":         {later: os.Remove, want: "OLD"}, // not the host's role, which is another identity
		"of_another_kind": {later: func(file string) error {
			return os.WriteFile(file, []byte("[default]\ncredential_process = false\n"), 0o600)
		}, want: "OLD"},
		"the_environments_first": {env: "ENV", later: func(file string) error { return os.WriteFile(file, []byte(profile("NEW")), 0o600) }, want: "ENV"},
	} {
		t.Run(hazard, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "credentials")
			require.NoError(t, os.WriteFile(file, []byte(profile("OLD")), 0o600))
			for name, value := range map[string]string{
				"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_CONFIG_FILE": filepath.Join(dir, "none"), "AWS_PROFILE": "",
				"AWS_ACCESS_KEY_ID": c.env, "AWS_SECRET_ACCESS_KEY": c.env, "AWS_EC2_METADATA_DISABLED": "true",
			} {
				t.Setenv(name, value)
			}
			synctest.Test(t, func(t *testing.T) {
				credentials := objstore.DefaultCredentials()
				key := func() string {
					got, err := credentials(t.Context())
					require.NoError(t, err)
					return got.AccessKeyID
				}
				before := key()
				require.NoError(t, c.later(file))
				require.Equal(t, before, key(), "a file is not read for every request")
				time.Sleep(5*time.Minute + time.Second)
				require.Equal(t, c.want, key())
				require.NoError(t, os.WriteFile(file, []byte(profile("LAST")), 0o600))
				time.Sleep(5*time.Minute + time.Second)
				if c.env == "" {
					require.Equal(t, "LAST", key())
				}
			})
		})
	}
}

// The same holds for the keys with which a profile's role is assumed.
func TestProfileRoleKeysAreReread(t *testing.T) {
	var known atomic.Value
	known.Store("OLD")
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+known.Load().(string)+"/") {
			http.Error(w, "<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>", http.StatusForbidden)
			return
		}
		// So it has to be renewed at the next call.
		fmt.Fprintf(w, "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>by %s</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"+
			"<SessionToken>t</SessionToken><Expiration>2020-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>", known.Load())
	}))
	defer sts.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials")
	keys := func(key string) []byte {
		return []byte("[default]\nrole_arn = arn:aws:iam::111111111111:role/sealift\nsource_profile = base\n[base]\naws_access_key_id = " + key + "\naws_secret_access_key = s\n")
	}
	require.NoError(t, os.WriteFile(file, keys("OLD"), 0o600))
	for name, value := range map[string]string{
		"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_CONFIG_FILE": filepath.Join(dir, "none"), "AWS_PROFILE": "", "AWS_REGION": "us-east-1",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_STS": sts.URL, "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	credentials := objstore.DefaultCredentials()
	got, err := credentials(t.Context())
	require.NoError(t, err)
	require.Equal(t, "by OLD", got.AccessKeyID)

	known.Store("NEW")
	_, err = credentials(t.Context())
	require.Error(t, err, "the file still has the old ones")
	require.NoError(t, os.WriteFile(file, keys("NEW"), 0o600))
	got, err = credentials(t.Context())
	require.NoError(t, err)
	require.Equal(t, "by NEW", got.AccessKeyID)
	require.NoError(t, os.Remove(file))
	known.Store("none")
	_, err = credentials(t.Context())
	require.Error(t, err, "another identity was used")
}

// processCredentials sets up a profile whose credentials come from a file. put writes them there,
// with an empty key making them invalid; runs counts how often they were read.
func processCredentials(t *testing.T) (put func(t *testing.T, key string, lives time.Duration), runs func() int) {
	dir := t.TempDir()
	file, given := filepath.Join(dir, "config"), filepath.Join(dir, "given")
	require.NoError(t, os.WriteFile(file, []byte("[default]\ncredential_process = sh -c 'echo >>"+given+".runs; cat "+given+"'\n"), 0o600))
	for name, value := range map[string]string{
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"), "AWS_CONFIG_FILE": file, "AWS_PROFILE": "",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	return func(t *testing.T, key string, lives time.Duration) {
			t.Helper()
			text := ""
			if key != "" {
				text = fmt.Sprintf(`{"Version":1,"AccessKeyId":%q,"SecretAccessKey":"s","SessionToken":"t","Expiration":%q}`, key, time.Now().Add(lives).UTC().Format(time.RFC3339))
			}
			require.NoError(t, os.WriteFile(given, []byte(text), 0o600))
		}, func() int {
			text, _ := os.ReadFile(given + ".runs")
			return len(text)
		}
}

// Credentials are renewed some time before they expire, because clocks differ and a request takes
// time.
func TestCredentialsAreRenewedBeforeTheyExpire(t *testing.T) {
	put, _ := processCredentials(t)
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		at := func(d time.Duration) { time.Sleep(time.Until(begun.Add(d))) }
		put(t, "OLD", time.Hour)
		credentials := objstore.DefaultCredentials()
		key := func() string {
			got, err := credentials(t.Context())
			require.NoError(t, err)
			require.Greater(t, time.Until(got.Expires), time.Duration(0))
			return got.AccessKeyID
		}
		require.Equal(t, "OLD", key())
		put(t, "", 0)
		at(54 * time.Minute)
		require.Equal(t, "OLD", key())
		at(55*time.Minute + time.Second)
		require.Equal(t, "OLD", key(), "the old key is not used while renewal fails")
		put(t, "NEW", time.Hour)
		require.Equal(t, "OLD", key(), "renewal was tried again too soon")
		time.Sleep(20 * time.Second)
		require.Equal(t, "NEW", key())
		put(t, "", 0)
		at(114*time.Minute + time.Second)
		require.Equal(t, "NEW", key())
		at(2 * time.Hour)
		_, err := credentials(t.Context())
		require.Error(t, err, "they have expired")
		put(t, "LAST", time.Hour)
		require.Equal(t, "LAST", key())
	})
}

// A process that returns the same credentials until shortly before they expire is not run for each
// request.
func TestUnrenewedCredentialsAreNotFetchedPerRequest(t *testing.T) {
	put, runs := processCredentials(t)
	synctest.Test(t, func(t *testing.T) {
		put(t, "SAME", 4*time.Minute)
		credentials := objstore.DefaultCredentials()
		expires := time.Now().Add(4 * time.Minute).Truncate(time.Second)
		use := func() {
			t.Helper()
			for range 100 {
				got, err := credentials(t.Context())
				require.NoError(t, err)
				require.Equal(t, "SAME", got.AccessKeyID)
				require.True(t, got.Expires.Equal(expires), "%v, not %v", got.Expires, expires)
			}
		}
		use()
		require.Equal(t, 2, runs(), "one run for the first credentials, one for newer ones")
		time.Sleep(20 * time.Second)
		use()
		require.Equal(t, 3, runs())
		time.Sleep(3*time.Minute + 20*time.Second) // now in the last minute
		use()
		require.LessOrEqual(t, runs(), 4)
	})
}

// Credentials that have expired by the store's clock are renewed, whatever our clock says.
func TestCredentialsRefusedByAStoreAreRenewed(t *testing.T) {
	put, _ := processCredentials(t)
	synctest.Test(t, func(t *testing.T) {
		put(t, "OLD", time.Hour)
		usedKeys := []string{}
		store := objstore.NewS3(objstore.S3Config{
			Bucket: "bucket", Region: "us-east-1", Endpoint: "http://store", PathStyle: true, Credentials: objstore.DefaultCredentials(),
			HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				key := strings.Split(strings.SplitN(r.Header.Get("Authorization"), "Credential=", 2)[1], "/")[0]
				usedKeys = append(usedKeys, key)
				if key == "OLD" {
					return answerOf(r, http.StatusBadRequest, "<Error><Code>ExpiredToken</Code></Error>"), nil
				}
				return answerOf(r, http.StatusOK, ""), nil
			})},
		})
		try := func() error {
			_, err := store.Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{})
			return err
		}
		require.ErrorContains(t, try(), "ExpiredToken")
		require.ErrorContains(t, try(), "ExpiredToken", "there are no others yet")
		put(t, "NEW", time.Hour)
		require.ErrorContains(t, try(), "ExpiredToken", "renewed again too soon")
		time.Sleep(20 * time.Second)
		require.Error(t, try())
		require.NoError(t, try())
		require.Equal(t, "OLD OLD OLD OLD NEW", strings.Join(usedKeys, " "))
	})
}

func answerOf(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Request: r, Header: http.Header{"Etag": {`"e"`}}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
}

// Somebody who has set none reads so, and is not told of a store that was never asked.
func TestMissingCredentialsError(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_SHARED_CREDENTIALS_FILE": none, "AWS_CONFIG_FILE": none, "AWS_PROFILE": "",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
	} {
		t.Setenv(name, value)
	}
	store := objstore.NewS3(objstore.S3Config{Bucket: "acme-logs", Region: "us-east-1"})
	_, err := store.List(t.Context(), "a/", "", 1)
	require.ErrorIs(t, err, objstore.ErrNoCredentials)
	require.ErrorIs(t, err, objstore.ErrUnavailable, "not retryable, although roles wait for credentials")
	require.ErrorContains(t, err, `list object "a/" in bucket "acme-logs": no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or run with an instance role (`)
	require.NotContains(t, err.Error(), "store unavailable")
}
