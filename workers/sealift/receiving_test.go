package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/policy"
)

func readCustomersPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("RECEIVING.md")
	require.NoError(t, err)
	return string(text)
}

// The policies that the page for customers shows are those of `sealift destinations policy`, but
// for the names of their statements.
func TestCustomersPagePolicies(t *testing.T) {
	blocks := regexp.MustCompile("(?ms)^```json\n(.*?)^```$").FindAllStringSubmatch(readCustomersPage(t), -1)
	require.Len(t, blocks, 4)
	statement := func(kind iam.Kind, i int) iam.Statement {
		text := blocks[i][1]
		if !strings.Contains(text, `"Statement"`) {
			text = `{"Version": "2012-10-17", "Statement": [` + text + `]}`
		}
		p, err := iam.Parse(kind, []byte(text))
		require.NoError(t, err)
		require.Equal(t, iam.Version, p.Version)
		require.Len(t, p.Statement, 1)
		return p.Statement[0]
	}

	workspaces, err := catalog.Parse([]byte(`
workspace: ws_7Qm3xR9tK2bV8nLc
sources: [{id: web}, {id: ios}]
destinations:
  - {name: main, sources: [web, ios], bucket: acme-logs, role_arn: "arn:aws:iam::123456789012:role/segment-logs", server_side_encryption: false}
`))
	require.NoError(t, err)
	snapshot, err := catalog.NewSnapshot(workspaces)
	require.NoError(t, err)
	target, ok := snapshot.Destination("ws_7Qm3xR9tK2bV8nLc/main")
	require.True(t, ok)
	set, err := policy.NewSet(target, policy.Options{
		Principal: "arn:aws:iam::999999999999:role/sealift",
		KMSKey:    "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
	})
	require.NoError(t, err)
	want := map[policy.Kind][]iam.Statement{}
	for _, d := range set.Documents {
		for _, s := range d.Policy.Statement {
			s.Sid = ""
			want[d.Kind] = append(want[d.Kind], s)
		}
	}
	require.Equal(t, map[policy.Kind][]iam.Statement{
		policy.Trust: {statement(iam.Trust, 0)},
		policy.Role:  {statement(iam.Identity, 1), statement(iam.Identity, 2)},
		policy.KMS:   {statement(iam.Key, 3)},
	}, want)
}

// What the page says about names and times is so.
func TestCustomersPageFacts(t *testing.T) {
	page := readCustomersPage(t)
	const day = 24 * time.Hour
	key := regexp.MustCompile(`segment-logs/web/(\d{13})/(\d{13})\.[0-9a-f]{12}\.[0-9a-f]{7}\.[0-9a-f-]{36}\.gz`).FindStringSubmatch(page)
	require.NotNil(t, key)
	require.Equal(t, "2026-11-22", time.UnixMilli(number(t, key[1])).UTC().Format(time.DateOnly))
	require.Equal(t, key[1], strconv.FormatInt(time.UnixMilli(number(t, key[2])).UTC().Truncate(day).UnixMilli(), 10))

	interval := regexp.MustCompile(`'projection\.day\.interval' = '(\d+)'`).FindStringSubmatch(page)
	require.NotNil(t, interval)
	require.Equal(t, day.Milliseconds(), number(t, interval[1]))
	days := regexp.MustCompile(`'projection\.day\.range' = '(\d+),(\d+)'`).FindStringSubmatch(page)
	require.NotNil(t, days)
	for _, ms := range days[1:] {
		require.Zero(t, number(t, ms)%day.Milliseconds(), "no day's folder is %s", ms)
	}

	d := config.Default()
	require.Equal(t, 7*day, d.Staging.Retain)
	require.Contains(t, page, "by default for 7 days after delivery")
	require.Equal(t, day, d.Appender.DedupWindow)
	require.Contains(t, page, "24 hours (a setting of your provider)")
	require.EqualValues(t, 100e6, d.Appender.MaxBytes)
	require.Contains(t, page, "at most 100 MB")
}

func number(t *testing.T, decimal string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(decimal, 10, 64)
	require.NoError(t, err)
	return n
}
