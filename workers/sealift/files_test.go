package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
)

// Each of these scripts has its own buckets of a customer, with two sources over two days below the
// prefix "some/path".
func TestScriptsWithBucket(t *testing.T) {
	scripts(t, "testdata/bucket", func(env *testscript.Env) error {
		s, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "a", SecretKey: "b"})
		if err != nil {
			return err
		}
		web := httptest.NewServer(s)
		env.Defer(func() { web.Close(); _ = s.Close() })
		for name, value := range map[string]string{
			"S3": web.URL, "AWS_ENDPOINT_URL": web.URL, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
			"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		} {
			env.Setenv(name, value)
		}
		for bucket, region := range map[string]string{"acme-logs": "us-east-1", "far-logs": "ap-south-1"} {
			if err := s.PutBucket(s3server.Bucket{Name: bucket, Region: region}); err != nil {
				return err
			}
			if err := fillBucket(t, web.URL, bucket, region); err != nil {
				return err
			}
		}
		if err := s.CreateBucket("big-logs"); err != nil {
			return err
		}
		// More than fits into a pipe.
		return putFile(t, web.URL, "big-logs", "us-east-1", "segment-logs/web/1795305600000/1795305600000.a.gz", strings.Repeat("{\"source\":\"web\",\"n\":0}\n", 200_000))
	})
}

func fillBucket(t *testing.T, url, bucket, region string) error {
	tried := "some/path/segment-logs/" + catalog.ReservedSourceID + "/1795305600000/1795305600000.aaaaaaaaaaaa.bbbbbbb.0.gz"
	if err := putFile(t, url, bucket, region, tried, `{"source":"tried"}`+"\n"); err != nil {
		return err
	}
	for _, source := range []string{"ios", "web"} {
		for day := range 2 {
			for n := range 2 {
				ms := 1795305600000 + int64(day)*86_400_000
				key := fmt.Sprintf("some/path/segment-logs/%s/%d/%d.aaaaaaaaaaaa.bbbbbbb.%d.gz", source, ms, ms+int64(n)*3_600_000, n)
				if err := putFile(t, url, bucket, region, key, fmt.Sprintf("{\"source\":%q,\"day\":%d,\"n\":%d}\n", source, day, n)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// putFile stores a file as a copier does.
func putFile(t *testing.T, url, bucket, region, key, lines string) error {
	b := gziptest.Zip(lines)
	sum := sha256.Sum256(b)
	store := objstore.NewS3(objstore.S3Config{Bucket: bucket, Region: region, Endpoint: url, PathStyle: true, Credentials: testCredentials})
	_, err := store.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{
		ContentType: "text/plain", ContentEncoding: "gzip", Metadata: map[string]string{"sha256": hex.EncodeToString(sum[:])},
	})
	return err
}

func TestTree(t *testing.T) {
	root := &tree{}
	for n := range treeFiles + 5 {
		root.add(objstore.Info{Key: fmt.Sprintf("p/segment-logs/web/1795305600000/%02d.gz", n), Size: 1500, Metadata: map[string]string{"records": "7"}})
	}
	root.add(objstore.Info{Key: "p/segment-logs/ios/1795305600000/x.gz", Size: 3, Metadata: map[string]string{"records": "1"}})
	var out strings.Builder
	root.print(&out, "acme")
	text := out.String()
	require.True(t, strings.HasPrefix(text, "s3://acme\n└── p/segment-logs\n    ├── web/1795305600000  (2026-11-22)\n    │   ├── 00.gz  1.5 kB, 7 events\n"), text)
	require.Contains(t, text, "    │   └── … and 5 more\n")
	require.Contains(t, text, "    └── ios/1795305600000  (2026-11-22)\n        └── x.gz  3 B, 1 events\n")
}

func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"one", "two"} {
		require.NoError(t, writeFile(path, []byte(text)))
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(b))
	}
}

// TestDamagedKeyIsNotReplaced: clients that have the key would be refused, and nothing would say why.
func TestDamagedKeyIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s3-key.json")
	key, err := loadKey(path)
	require.NoError(t, err)
	for hazard, text := range map[string]string{
		"empty": "", "cut_off": `{"AccessKey":"SEALIFTX","Secr`, "no_secret": `{"AccessKey":"SEALIFTX"}`, "no_key": `{"SecretKey":"x"}`,
	} {
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err = loadKey(path)
		require.ErrorContains(t, err, path+" does not hold the key of the embedded S3", hazard)
		require.ErrorContains(t, err, "delete the file to get a new key", hazard)
		require.NotContains(t, err.Error(), "SEALIFTX")
		kept, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(kept), hazard)
		require.NoError(t, os.WriteFile(path, good, 0o600))
		again, err := loadKey(path)
		require.NoError(t, err)
		require.Equal(t, key, again)
	}
	require.NoError(t, os.Remove(path))
	fresh, err := loadKey(path)
	require.NoError(t, err)
	require.NotEqual(t, key, fresh)
}
