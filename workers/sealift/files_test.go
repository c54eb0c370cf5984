package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
)

// Each of these scripts has a customer's bucket of its own: two sources over
// two days, below the prefix "some/path".
func TestScriptsWithBucket(t *testing.T) {
	scripts(t, "testdata/bucket", func(env *testscript.Env) error {
		s, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "a", SecretKey: "b"})
		if err != nil {
			return err
		}
		web := httptest.NewServer(s)
		env.Defer(func() { web.Close(); _ = s.Close() })
		for name, value := range map[string]string{
			"S3": web.URL, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
			"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		} {
			env.Setenv(name, value)
		}
		if err := s.CreateBucket("acme-logs"); err != nil {
			return err
		}
		return fillBucket(t, web.URL)
	})
}

func fillBucket(t *testing.T, url string) error {
	store := objstore.NewS3(objstore.S3Config{Bucket: "acme-logs", Region: "us-east-1", Endpoint: url, PathStyle: true, Credentials: testCredentials})
	for _, source := range []string{"ios", "web"} {
		for day := range 2 {
			for n := range 2 {
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				fmt.Fprintf(z, "{\"source\":%q,\"day\":%d,\"n\":%d}\n", source, day, n)
				if err := z.Close(); err != nil {
					return err
				}
				ms := 1795305600000 + int64(day)*86_400_000
				key := fmt.Sprintf("some/path/segment-logs/%s/%d/%d.aaaaaaaaaaaa.bbbbbbb.%d.gz", source, ms, ms+int64(n), n)
				if _, err := store.Put(t.Context(), key, bytes.NewReader(b.Bytes()), objstore.PutOptions{ContentEncoding: "gzip"}); err != nil {
					return err
				}
			}
		}
	}
	return nil
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
	key, err := loadKey(path)
	require.NoError(t, err, "what is no key is replaced")
	again, err := loadKey(path)
	require.NoError(t, err)
	require.Equal(t, key, again)
}
