package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
)

const (
	verifiedDest = "ws_AAAAAAAAAAAAAAAA/one"
	verifiedRole = "arn:aws:iam::123456789012:role/one"
)

// verifyRig sets up a ledger with one file, delivered to a destination that has a role.
func verifyRig(t *testing.T) (s *stack, env []string) {
	s, svc := openStack(t, func(*config.Config) {})
	cfg := svc.cfg
	require.NoError(t, s.s3.CreateBucket("acme-logs"))
	workspace, name, _ := strings.Cut(verifiedDest, "/")
	require.NoError(t, writeWorkspaces(t.Context(), svc, []catalog.Workspace{{ID: workspace, Sources: []catalog.Source{{ID: "web"}},
		Destinations: []catalog.Destination{{Name: name, Sources: []string{"web"}, Bucket: "acme-logs/raw", Region: embeddedRegion, RoleARN: verifiedRole}}}}))

	body := gziptest.Zip("{}\n")
	l := ledger.Log{Topic: cfg.Kafka.EventsTopic, Incarnation: cfg.Kafka.Incarnation}
	f := ledgertest.File(l, ledger.File{Owed: []string{verifiedDest}}, body)
	ledgertest.Put(t, svc.staging, f.StagedKey, body)
	seal := ledgertest.Append(t, svc.staging, ledgertest.Next(ledgertest.Append(t, svc.staging, ledgertest.Init(l, time.Now())), f))
	key, meta := delivery.ObjectKey("raw", l, &f), delivery.ObjectMetadata(l, &f)
	meta["sha256"] = f.SHA256
	target, _ := requireStoredCatalog(t, svc).Destination(verifiedDest)
	stored, err := svc.openBucket(target, nil).Put(t.Context(), key, bytes.NewReader(body), objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip", Metadata: meta})
	require.NoError(t, err)
	ledgertest.Receipt(t, svc.staging, seal, 0, verifiedDest, delivery.Receipt{Bucket: "acme-logs", Key: key, ETag: stored.ETag, SHA256: f.SHA256, Bytes: f.GzipBytes, Records: 1})

	t.Setenv("AWS_ACCESS_KEY_ID", s.key.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.key.SecretAccessKey.Reveal())
	return s, []string{
		"SEALIFT_KAFKA_BROKERS=" + cfg.Kafka.Brokers[0], "SEALIFT_STS_ENDPOINT=" + s.s3URL, "SEALIFT_DESTINATIONS_ENDPOINT=" + s.s3URL, "SEALIFT_STAGING_REGION=" + cfg.Staging.Region,
		"SEALIFT_STAGING_ENDPOINT=" + s.s3URL, "SEALIFT_STAGING_FORCE_PATH_STYLE=true",
	}
}

func requireStoredCatalog(t *testing.T, svc *services) *catalog.Snapshot {
	snapshot, err := readStoredCatalog(t.Context(), svc)
	require.NoError(t, err)
	return snapshot
}

// A bucket that we may not read is reported, but is not a failure; one that could not be read for
// another reason is.
func TestVerifyDistinguishesDeniedFromUnavailableBuckets(t *testing.T) {
	s, env := verifyRig(t)
	const (
		list = `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::acme-logs","Condition":{"StringLike":{"s3:prefix":"raw/segment-logs/*"}}}`
		get  = `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-logs/raw/segment-logs/*"}`
		// Answers of the bucket or of STS.
		denied, away, gone = "403 AccessDenied", "400 InvalidRequest", "404 NoSuchBucket"
	)
	faults := map[string]s3server.Fault{
		denied: {Status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"},
		away:   {Status: http.StatusBadRequest, Code: "InvalidRequest", Message: "away"},
		gone:   {Status: http.StatusNotFound, Code: "NoSuchBucket", Message: "The specified bucket does not exist"},
	}
	for hazard, c := range map[string]struct {
		policies         []string
		operator, role   string // what the bucket answers to each; "" if nothing fails
		sts              string
		open             bool // the role can be assumed without its external id
		env, args        []string
		code             int
		want, doesNotSay []string
	}{
		"operator":                           {code: exitOK, want: []string{"read    1 of 1", "no problems"}},
		"role_that_may_list_and_get":         {policies: []string{list, get}, operator: denied, code: exitOK, want: []string{"read    1 of 1", "no problems"}},
		"bucket_is_gone":                     {role: gone, operator: gone, code: exitPartial, want: []string{"I9 bucket_missing  s3://acme-logs\n", "sealift replay --destination " + verifiedDest + "\n", "problems found: 1"}, doesNotSay: []string{"no problems"}},
		"bucket_is_gone_for_the_operator":    {sts: denied, operator: gone, code: exitPartial, want: []string{"I9 bucket_missing  s3://acme-logs\n"}},
		"bucket_is_required":                 {args: []string{"--require-buckets"}, operator: denied, code: exitFailure, want: []string{"not all could be verified: the bucket of 1 destination could not be read"}},
		"required_and_read":                  {args: []string{"--require-buckets"}, code: exitOK, want: []string{"read    1 of 1", "no problems, in "}},
		"role_that_may_only_put":             {operator: denied, code: exitOK, want: []string{"not readable: as role " + verifiedRole, "no problems in what could be read, in "}},
		"role_that_may_get_and_not_list":     {policies: []string{get}, operator: denied, code: exitOK, want: []string{"not readable: as role " + verifiedRole, "no problems in what could be read, in "}},
		"role_that_may_list_and_not_get":     {policies: []string{list}, operator: denied, code: exitFailure, want: []string{"not verified: s3://acme-logs/raw/segment-logs/web/"}, doesNotSay: []string{"no problems"}},
		"role_without_external_id":           {policies: []string{list, get}, open: true, operator: denied, code: exitOK, want: []string{"not readable: as role " + verifiedRole, "without its external id"}},
		"role_cannot_be_assumed":             {sts: denied, operator: denied, code: exitOK, want: []string{"not readable: as role " + verifiedRole, "no problems in what could be read, in "}},
		"sts_unavailable":                    {sts: away, operator: denied, code: exitFailure, want: []string{"not verified: " + verifiedDest + ": its bucket: as role"}, doesNotSay: []string{"no problems"}},
		"bucket_unavailable":                 {role: away, operator: away, code: exitFailure, want: []string{"not verified: " + verifiedDest + ": its bucket: as role"}, doesNotSay: []string{"no problems"}},
		"bucket_unavailable_to_the_operator": {operator: away, code: exitFailure, want: []string{"not verified: " + verifiedDest + ": its bucket: as role"}, doesNotSay: []string{"no problems"}},
		"catalog_unavailable":                {env: []string{"SEALIFT_KAFKA_BROKERS=127.0.0.1:1"}, code: exitFailure, want: []string{"not verified: " + verifiedDest + ": its bucket: the catalog cannot be read"}, doesNotSay: []string{"no problems"}},
	} {
		t.Run(hazard, func(t *testing.T) {
			role := s3server.PutOnlyRole(verifiedRole, s.s3.OperatorARN(), "ws_AAAAAAAAAAAAAAAA", "acme-logs")
			if len(c.policies) > 0 {
				role.Policies = append(role.Policies, readersPolicy(t, iam.Identity, c.policies...))
			}
			if c.open {
				role.Trust.Statement[0].Condition = nil
			}
			role.Fault = faults[c.sts]
			require.NoError(t, s.s3.PutRole(role))
			s.s3.SetFault(func(r *http.Request) s3server.Fault {
				switch {
				case !strings.HasPrefix(r.URL.Path, "/acme-logs"):
					return s3server.Fault{}
				case strings.Contains(r.Header.Get("Authorization"), s.key.AccessKeyID):
					return faults[c.operator]
				}
				return faults[c.role]
			})
			var out bytes.Buffer
			code := run(t.Context(), append([]string{"verify"}, c.args...), append(append([]string{}, env...), c.env...), strings.NewReader(""), &out, &out)
			require.Equal(t, c.code, code, out.String())
			for _, want := range c.want {
				require.Contains(t, out.String(), want)
			}
			for _, not := range c.doesNotSay {
				require.NotContains(t, out.String(), not)
			}
		})
	}
}

// After a change of the prefix, what is below the former one is looked at if the role may read it,
// and otherwise only counted.
func TestVerifyAfterAChangeOfThePrefix(t *testing.T) {
	s, env := verifyRig(t)
	s.s3.SetFault(func(r *http.Request) s3server.Fault {
		if strings.HasPrefix(r.URL.Path, "/acme-logs") && strings.Contains(r.Header.Get("Authorization"), s.key.AccessKeyID) {
			return s3server.Fault{Status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"}
		}
		return s3server.Fault{}
	})
	moved := writeYAML(t, catalog.Workspace{ID: "ws_AAAAAAAAAAAAAAAA", Sources: []catalog.Source{{ID: "web"}},
		Destinations: []catalog.Destination{{Name: "one", Sources: []string{"web"}, Bucket: "acme-logs/new", Region: embeddedRegion, RoleARN: verifiedRole}}})
	code, _, stderr := runSealift(t, "", env, "catalog", "apply", "-f", moved)
	require.Equal(t, exitOK, code, stderr)
	for readable, want := range map[string]string{"acme-logs/*": "read    1 of 1", "acme-logs/new/segment-logs/*": "not looked at: 1 object in its former bucket acme-logs/raw"} {
		role := s3server.PutOnlyRole(verifiedRole, s.s3.OperatorARN(), "ws_AAAAAAAAAAAAAAAA", "acme-logs")
		role.Policies = append(role.Policies, readersPolicy(t, iam.Identity, `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::acme-logs"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::`+readable+`"}`))
		require.NoError(t, s.s3.PutRole(role))
		code, stdout, stderr := runSealift(t, "", env, "verify")
		require.Equal(t, exitOK, code, stdout+stderr)
		require.Contains(t, stdout, want)
	}
}

// TestInterruptedVerifyBlamesNoBucket: what a signal kept from being read is not reported.
func TestInterruptedVerifyBlamesNoBucket(t *testing.T) {
	s, env := verifyRig(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	s.s3.SetFault(func(r *http.Request) s3server.Fault {
		// The chain has been read when all of its bucket is listed.
		if strings.HasPrefix(r.URL.Path, "/acme-logs") && r.URL.Query().Get("max-keys") == "1000" {
			cancel(interruptedError{os.Interrupt})
			<-r.Context().Done()
		}
		return s3server.Fault{}
	})
	var out bytes.Buffer
	code := run(ctx, []string{"verify"}, env, strings.NewReader(""), &out, &out)
	require.Equal(t, exitInterrupted, code, out.String())
	require.Equal(t, "sealift: interrupted\n", out.String())
}

// verify assumes a role for reading what was delivered, and no more, whatever else the role allows:
// another customer may name it.
func TestVerifyAssumesRolesForReadingOnly(t *testing.T) {
	var asked url.Values
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_ = r.ParseForm()
			asked = r.PostForm
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
	}))
	defer web.Close()
	cfg := config.Default()
	cfg.Destinations.Endpoint = web.URL
	s, err := openServices(cfg, testCredentials, false, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	snapshot, err := catalog.NewSnapshot([]catalog.Workspace{{ID: "ws_AAAAAAAAAAAAAAAA", Sources: []catalog.Source{{ID: "web"}},
		Destinations: []catalog.Destination{{Name: "one", Sources: []string{"web"}, Bucket: "acme-logs/raw", RoleARN: verifiedRole}}}})
	require.NoError(t, err)
	s.catalog.Set(snapshot)
	_, err = (&bucketReader{s, s.catalog}).open(t.Context(), verifiedDest)
	require.ErrorIs(t, err, objstore.ErrDenied)
	require.Equal(t, verifiedRole, asked.Get("RoleArn"))
	p, err := iam.Parse(iam.Session, []byte(asked.Get("Policy")))
	require.NoError(t, err)
	for _, statement := range p.Statement {
		require.Subset(t, []string{"s3:ListBucket", "s3:GetObject", "kms:Decrypt"}, statement.Action)
	}
}

// A job that fails just before copier.park_after waits in the slowest tier once more, and is parked only after that.
func TestNothingIsOverdueThatWaitsInTheSlowestTier(t *testing.T) {
	cfg := config.Default()
	cfg.Copier.RetryTiers = []time.Duration{time.Minute, 12 * time.Hour}
	require.Greater(t, overdueAfter(cfg), cfg.Copier.ParkAfter+12*time.Hour)
}
