package objstore_test

import (
	"fmt"
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

// Keys of a file are replaced in it, while processes run that use them.
func TestKeysOfTheSharedFileAreReadAgain(t *testing.T) {
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
		"gone":         {later: os.Remove, want: "OLD"}, // not the host's role, which is somebody else
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

// So are those that a profile's role is assumed with.
func TestKeysBehindAProfilesRoleAreReadAgain(t *testing.T) {
	var known atomic.Value
	known.Store("OLD")
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+known.Load().(string)+"/") {
			http.Error(w, "<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>", http.StatusForbidden)
			return
		}
		// It has to be renewed at the next call.
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
	require.Error(t, err, "and not as somebody else")
}
