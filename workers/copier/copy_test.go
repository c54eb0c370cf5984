package copier

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/receipt"
)

func TestDeliverWithARole(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)

	key := delivery.ObjectKey("path", testLog, &r.head.Files[0])
	require.Equal(t, map[string]string{key: "hello"}, r.objects("one-logs"))
	b := r.buckets["one-logs"]
	require.Len(t, b.opts, 1)
	require.Equal(t, objstore.PutOptions{
		IfAbsent: true, SHA256: b.opts[0].SHA256, ContentType: "text/plain", ContentEncoding: "gzip", ServerSideEncryption: "AES256",
		Metadata: map[string]string{"topic": "events", "partition": "0", "first-offset": "0", "last-offset": "0", "records": "1", "sha256": r.head.Files[0].SHA256},
	}, b.opts[0])
	require.Equal(t, []string{acme + "#0"}, b.signers, "not signed with the customer's role")
	require.Equal(t, assumerole.Request{RoleARN: "arn:aws:iam::123456789012:role/logs", ExternalID: acme,
		SessionPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::one-logs/path/segment-logs/*"}]}`}, r.roles.requests[0])

	rec := r.receipt(job)
	require.NotZero(t, rec.At)
	rec.At, rec.ETag = 0, ""
	require.Equal(t, &delivery.Receipt{Version: 1, File: job.File, Destination: acmeOne, Outcome: delivery.Delivered, Bucket: "one-logs", Key: key,
		SHA256: r.head.Files[0].SHA256, Bytes: 5, Records: 1, Worker: "copier-1", Fence: 1, Role: "arn:aws:iam::123456789012:role/logs"}, rec)
	marked, err := r.deps.Leases.Marked(t.Context(), delivery.DoneMarker(job.File, acmeOne))
	require.NoError(t, err)
	require.True(t, marked)
	held, err := r.deps.Leases.Acquire(t.Context(), delivery.LeaseName(job.File, acmeOne), time.Minute)
	require.NoError(t, err, "the lease was not released")
	require.NoError(t, held.Release(t.Context()))
}

// When a marker closes a job, this is logged, because the marker may be of another ledger's debt
// (OPERATING.md).
func TestJobClosedByMarkerIsLogged(t *testing.T) {
	r := newRig(t)
	var logged logtest.Buffer
	r.deps.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	job := r.job(acmeOne, "hello")
	require.NoError(t, r.deps.Leases.Mark(t.Context(), delivery.DoneMarker(job.File, acmeOne), time.Minute))
	require.Equal(t, outcomeMoot, r.runJob(t.Context(), job).kind)
	require.Regexp(t, `level=DEBUG .*Redis.* destination=`+acmeOne+` file=`+job.File.String(), logged.String())
	r.redis.FlushAll()
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
}

func TestDeliverClassic(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeTwo, "hello")
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
	b := r.buckets["two-logs"]
	require.Equal(t, []string{""}, b.signers, "not signed with the operator's own credentials")
	require.Empty(t, b.opts[0].ServerSideEncryption, "encryption is left to the bucket")
	require.Empty(t, r.roles.requests)
	require.Equal(t, map[string]string{delivery.ObjectKey("", testLog, &r.head.Files[0]): "hello"}, r.objects("two-logs"))
}

// onPut injects faults into the PUTs to a customer: the nth fault into the nth PUT.
func onPut(faults ...objstore.Fault) func(objstore.Op) objstore.Fault {
	return func(op objstore.Op) objstore.Fault {
		if op.Name == "put" && op.N <= len(faults) {
			return faults[op.N-1]
		}
		return objstore.Fault{}
	}
}

func answer(kind error, status int, code, message string) *objstore.Error {
	return &objstore.Error{Op: "put", Bucket: "one-logs", Status: status, Code: code, Message: message, Kind: kind}
}

// Whatever the customer's store answers, the bytes arrive there once.
func TestFileArrivesOnceDespitePutFaults(t *testing.T) {
	down := errors.New("connection reset")
	for hazard, c := range map[string]struct {
		faults  []objstore.Fault
		sends   int
		existed bool
		forgot  int
	}{
		"none":                 {nil, 1, false, 0},
		"request_lost":         {[]objstore.Fault{{Before: down}}, 2, false, 0},
		"reply_lost_after_put": {[]objstore.Fault{{After: down}}, 2, true, 0},
		"5xx_after_put":        {[]objstore.Fault{{After: objstore.ErrUnavailable}}, 2, true, 0},
		"409_conflict":         {[]objstore.Fault{{Before: objstore.ErrConflict}}, 2, false, 0},
		"412_exists":           {[]objstore.Fault{{Before: objstore.ErrExists}}, 1, true, 0},
		"501_unconditional":    {[]objstore.Fault{{Before: answer(objstore.ErrInvalid, 501, "NotImplemented", "A header you provided implies functionality that is not implemented")}}, 2, false, 0},
		"400_unconditional":    {[]objstore.Fault{{Before: answer(objstore.ErrInvalid, 400, "InvalidArgument", "If-None-Match")}}, 2, false, 0},
		"role_recreated":       {[]objstore.Fault{{Before: answer(objstore.ErrDenied, 403, "InvalidAccessKeyId", "it does not exist in our records")}}, 2, false, 1},
		"expired_token":        {[]objstore.Fault{{Before: answer(objstore.ErrDenied, 400, "ExpiredToken", "The provided token has expired.")}}, 2, false, 1},
		"clock_skew":           {[]objstore.Fault{{Before: answer(objstore.ErrDenied, 403, "RequestTimeTooSkewed", "too large")}}, 2, false, 0},
		"two_unknown_then_ok":  {[]objstore.Fault{{Before: down}, {Before: down}}, 3, false, 0},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			r.buckets["one-logs"].SetFault(onPut(c.faults...))
			require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
			require.Len(t, r.buckets["one-logs"].opts, c.sends)
			require.Equal(t, c.forgot, r.roles.forgot)
			require.Equal(t, c.existed, r.receipt(job).Existed)
			for key, n := range r.buckets["one-logs"].Contents("") {
				require.Equal(t, 1, n, "more than one object stored at %s", key)
			}
			if hazard != "412_exists" {
				require.Len(t, r.objects("one-logs"), 1)
			}
		})
	}
}

func TestGhostPutArrivesAfterTheDelivery(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	r.buckets["one-logs"].SetFault(onPut(objstore.Fault{Before: errors.New("timeout"), Ghost: true}))
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
	require.Zero(t, r.buckets["one-logs"].ReleaseGhosts(), "the late PUT was applied")
	require.Len(t, r.objects("one-logs"), 1)
}

func TestStoreWithoutIfNoneMatchIsRemembered(t *testing.T) {
	r := newRig(t)
	unsupported := answer(objstore.ErrInvalid, 501, "NotImplemented", "If-None-Match")
	r.buckets["one-logs"].SetFault(func(op objstore.Op) objstore.Fault {
		if op.Put != nil && op.Put.IfAbsent {
			return objstore.Fault{Before: unsupported}
		}
		return objstore.Fault{}
	})
	for _, content := range []string{"a", "b"} {
		require.Equal(t, outcomeDone, r.runJob(t.Context(), r.job(acmeOne, content)).kind)
	}
	require.Len(t, r.buckets["one-logs"].opts, 3, "If-None-Match sent again after a refusal")
}

// A 400 that is not about If-None-Match does not make the copier stop sending that header.
func TestOther400sDoNotDisableIfNoneMatch(t *testing.T) {
	r := newRig(t)
	r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault {
		return objstore.Fault{Before: answer(objstore.ErrInvalid, 400, "InvalidRequest", "no")}
	})
	o := r.runJob(t.Context(), r.job(acmeOne, "a"))
	require.Equal(t, "refused", o.verdict.Reason)
	r.buckets["one-logs"].SetFault(nil)
	require.Equal(t, outcomeDone, r.runJob(t.Context(), r.job(acmeOne, "b")).kind)
	require.True(t, r.buckets["one-logs"].opts[len(r.buckets["one-logs"].opts)-1].IfAbsent)
}

func TestRegionIsFollowedOnceAndRemembered(t *testing.T) {
	r := newRig(t)
	r.buckets["one-logs"].region = "ap-southeast-2"
	for range 2 {
		require.Equal(t, outcomeDone, r.runJob(t.Context(), r.job(acmeOne, "x")).kind)
	}
	target, _ := r.live.Snapshot().Destination(acmeOne)
	require.Equal(t, "ap-southeast-2", r.customers.Region(target))

	r.buckets["two-logs"].region = "nowhere-1"
	r.buckets["two-logs"].SetFault(onPut(objstore.Fault{Before: answer(objstore.ErrWrongRegion, 301, "PermanentRedirect", "elsewhere again")}))
	o := r.runJob(t.Context(), r.job(acmeTwo, "x"))
	require.Equal(t, "wrong_region", o.verdict.Reason)
	require.Equal(t, destination.Permanent, o.verdict.Class)
}

// Failures are told apart, and each has a cause and a fix that somebody can act on.
func TestVerdicts(t *testing.T) {
	deny := func(code, message string) error { return answer(objstore.ErrDenied, 403, code, message) }
	for hazard, c := range map[string]struct {
		put, role, trust error
		class            destination.Class
		fix              string
	}{
		"role_open":             {trust: &assumerole.Error{Kind: assumerole.ErrTrustsAnyone, ExternalID: acme}, class: destination.Permanent, fix: `"Condition": {"StringEquals": {"sts:ExternalId": "` + acme + `"}}`},
		"role_denied":           {role: &assumerole.Error{Kind: assumerole.ErrDenied, ExternalID: acme}, class: destination.Permanent, fix: acme},
		"role_invalid":          {role: &assumerole.Error{Kind: assumerole.ErrInvalid}, class: destination.Permanent, fix: "role_arn"},
		"sts_unavailable":       {role: &assumerole.Error{Kind: assumerole.ErrUnavailable}, class: destination.Transient, fix: "sts.endpoint"},
		"own_credentials":       {role: &assumerole.Error{Kind: assumerole.ErrOwnCredentials}, class: destination.Transient, fix: "get-caller-identity"},
		"no_bucket":             {put: objstore.ErrNoBucket, class: destination.Permanent, fix: "create the bucket"},
		"kms":                   {put: deny("KMS.DisabledException", "key is disabled"), class: destination.Permanent, fix: "enable the key"},
		"put_denied":            {put: deny("AccessDenied", "Access Denied"), class: destination.Permanent, fix: "arn:aws:s3:::one-logs/path/segment-logs/*"},
		"put_denied_explicitly": {put: deny("AccessDenied", "not authorized, with an explicit deny in a resource-based policy"), class: destination.Permanent, fix: "server_side_encryption: false"},
		"acl_unsupported":       {put: answer(objstore.ErrInvalid, 400, "AccessControlListNotSupported", "The bucket does not allow ACLs"), class: destination.Permanent, fix: "remove acl"},
		"clock_skew":            {put: deny("RequestTimeTooSkewed", "difference too large"), class: destination.Transient, fix: "NTP"},
		"credentials_refused":   {put: deny("InvalidAccessKeyId", "no such key"), class: destination.Permanent, fix: "sts.endpoint"},
		"token_expired":         {put: answer(objstore.ErrDenied, 400, "ExpiredToken", "expired"), class: destination.Transient, fix: "clock"},
		"account":               {put: deny("AllAccessDisabled", "disabled"), class: destination.Permanent, fix: "AWS"},
		"throttled":             {put: objstore.ErrUnavailable, class: destination.Transient, fix: "copier.per_destination"},
		"unavailable":           {put: answer(objstore.ErrUnavailable, 500, "InternalError", "try again"), class: destination.Transient, fix: "again"},
		"conflict":              {put: objstore.ErrConflict, class: destination.Transient, fix: "again"},
		"too_large":             {put: answer(objstore.ErrInvalid, 400, "EntityTooLarge", "too large"), class: destination.Permanent, fix: "appender.max_bytes"},
		"key_too_long":          {put: answer(objstore.ErrInvalid, 400, "KeyTooLongError", "too long"), class: destination.Permanent, fix: "prefix"},
		"damaged_on_the_way":    {put: answer(objstore.ErrInvalid, 400, "BadDigest", "sum"), class: destination.Transient, fix: "memory"},
		"refused":               {put: answer(objstore.ErrInvalid, 405, "MethodNotAllowed", "not here"), class: destination.Permanent, fix: "correct the destination"},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			r.roles.fail, r.roles.open = c.role, c.trust
			r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: c.put} })
			o := r.runJob(t.Context(), job)
			require.Equal(t, outcomeFailed, o.kind)
			require.Equal(t, hazard, o.verdict.Reason)
			require.Equal(t, c.class, o.verdict.Class)
			require.Contains(t, o.verdict.Fix.String(), c.fix)
			require.NotEmpty(t, o.verdict.Cause)
			require.Nil(t, r.receipt(job))
		})
	}
}

// Nothing of a staged file that differs from the ledger reaches a customer.
func TestDamagedStagedFileIsNotSent(t *testing.T) {
	for hazard, disturb := range map[string]func(r *rig, key string){
		"staged_missing": func(r *rig, key string) { require.NoError(r.t, r.staging.Delete(r.t.Context(), key)) },
		"staged_damaged": func(r *rig, key string) { r.overwrite(key, "hellO") },
		"truncated":      func(r *rig, key string) { r.overwrite(key, "hell") },
		"longer":         func(r *rig, key string) { r.overwrite(key, "hello!") },
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			disturb(r, r.head.Files[0].StagedKey)
			o := r.runJob(t.Context(), job)
			require.Equal(t, outcomeFailed, o.kind)
			require.Equal(t, destination.Permanent, o.verdict.Class)
			require.Equal(t, destination.ScopeFile, o.verdict.Scope, "the failure counts against the destination")
			require.True(t, strings.HasPrefix(o.verdict.Reason, "staged_"))
			require.Empty(t, r.buckets["one-logs"].opts, "something was sent")
			require.Nil(t, r.receipt(job))
		})
	}
}

// While a fleet is upgraded, a copier may be older than the appenders. What it cannot read yet is
// tried again soon and is not parked; what is damaged needs a person.
func TestUnreadableEntry(t *testing.T) {
	for reason, c := range map[string]struct {
		change [2]string
		class  destination.Class
		fix    string
	}{
		"ledger_too_new": {[2]string{`"version":1,`, `"version":2,"color":"red",`}, destination.Transient, "upgrade the copiers"},
		"ledger_corrupt": {[2]string{`"version":1,`, `"version":1,"color":"red",`}, destination.Permanent, "restore the ledger entry"},
	} {
		t.Run(reason, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			entry, err := r.head.Encode()
			require.NoError(t, err)
			changed := strings.Replace(string(entry), c.change[0], c.change[1], 1)
			require.NotEqual(t, string(entry), changed)
			r.overwrite(ledger.EntryKey(testLog, r.head.Seq), changed)
			o := r.runJob(t.Context(), job)
			require.Equal(t, outcomeFailed, o.kind)
			require.Equal(t, reason, o.verdict.Reason)
			require.Equal(t, c.class, o.verdict.Class)
			require.Equal(t, destination.ScopeFile, o.verdict.Scope, "the failure counts against the destination")
			require.Contains(t, o.verdict.Fix.String(), c.fix)
			require.Empty(t, r.buckets["one-logs"].opts, "something was sent")
		})
	}
}

func (r *rig) overwrite(key, content string) {
	_, err := r.staging.Put(r.t.Context(), key, strings.NewReader(content), objstore.PutOptions{})
	require.NoError(r.t, err)
}

// Invariant: I7. What is owed is in the ledger, not in the job.
func TestForgedJobs(t *testing.T) {
	r := newRig(t)
	good := r.job(acmeOne, "hello")
	for hazard, forge := range map[string]func(*delivery.Job){
		"other_tenant":         func(j *delivery.Job) { j.Destination = theirs },
		"not_owed":             func(j *delivery.Job) { j.Destination = acmeTwo },
		"no_such_entry":        func(j *delivery.Job) { j.File.Seq = 99 },
		"no_such_file":         func(j *delivery.Job) { j.File.Index = 1 },
		"no_such_topic":        func(j *delivery.Job) { j.File.Topic = "x" },
		"path_traversal":       func(j *delivery.Job) { j.File.Topic = "../../x" },
		"entry_without_files":  func(j *delivery.Job) { j.File.Seq = 0 },
		"path_to_another":      func(j *delivery.Job) { j.Destination = acmeOne + "/../../" + theirs },
		"path_to_itself":       func(j *delivery.Job) { j.Destination = acme + "/./one" },
		"pattern":              func(j *delivery.Job) { j.Destination = acme + "/*" },
		"workspace":            func(j *delivery.Job) { j.Destination = acme },
		"replay_without_order": func(j *delivery.Job) { j.Replay = "r" },
		"tried_often":          func(j *delivery.Job) { j.Destination, j.Attempt, j.FirstTry = theirs, 1<<30, 1 },
	} {
		t.Run(hazard, func(t *testing.T) {
			job := good
			forge(&job)
			before := r.staging.Contents("")
			e, c := r.newEngine(r.queue), newClaim()
			require.NoError(t, r.submitRecord(t.Context(), t.Context(), e, job.Encode(), c))
			<-c.done
			e.drain()
			require.Empty(t, r.queue.jobs, "a forged job was enqueued again")
			require.Equal(t, before, r.staging.Contents(""), "a forged job changed the staging bucket")
			for name, b := range r.buckets {
				require.Empty(t, b.opts, name)
			}
		})
	}
}

// After a crash between the steps of a delivery, the repeated job ends well.
func TestJobRepeatedAfterCrash(t *testing.T) {
	for step, sends := range map[string]int{"after_the_put": 2, "after_the_receipt": 1, "after_the_marker": 1} {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
			r.crash(step, job)
			o := r.newCopier("copier-2", nil).runJob(t.Context(), job)
			require.Contains(t, []outcomeKind{outcomeDone, outcomeMoot}, o.kind)
			require.Len(t, r.buckets["one-logs"].opts, sends)
			require.Len(t, r.objects("one-logs"), 1)
			require.NotNil(t, r.receipt(job))
		})
	}
}

// crash undoes what a delivery did after a step, as if its copier had died there: "after_the_put",
// "after_the_receipt" or "after_the_marker".
func (r *rig) crash(step string, job delivery.Job) {
	switch step {
	case "after_the_put":
		require.NoError(r.t, r.staging.Delete(r.t.Context(), delivery.ReceiptKey(job.File, job.Destination)))
		r.redis.FlushAll()
	case "after_the_receipt":
		r.redis.FlushAll()
	}
}

func TestTwoCopiersOnTheSameJob(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	held, err := r.deps.Leases.Acquire(t.Context(), delivery.LeaseName(job.File, job.Destination), time.Minute)
	require.NoError(t, err)
	require.Equal(t, outcomeBusy, r.runJob(t.Context(), job).kind)
	require.NoError(t, held.Release(t.Context()))

	// Redis is flushed while the first copier's PUT is under way, so both hold the lease, and both
	// PUTs arrive.
	second := r.newCopier("copier-2", nil)
	started, finish := make(chan struct{}), make(chan struct{})
	r.customers = destination.NewPutter(destination.Config{Roles: r.roles, Pause: time.Microsecond,
		Open: func(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
			return objstoretest.Before{Store: r.open(t, creds), Do: func(context.Context, string, string) error { close(started); <-finish; return nil }}
		}})
	outcomes := make(chan outcome, 1)
	go func() { outcomes <- r.runJob(t.Context(), job) }()
	<-started
	r.redis.FlushAll()
	require.Equal(t, outcomeDone, second.runJob(t.Context(), job).kind)
	close(finish)
	require.NotEqual(t, outcomeFailed, (<-outcomes).kind)
	puts := r.buckets["one-logs"].Puts("")
	require.Len(t, puts, 2)
	require.True(t, puts[0].Applied)
	require.False(t, puts[1].Applied)
	require.Len(t, r.objects("one-logs"), 1)
	require.NotNil(t, r.receipt(job))
}

// C8 (workers/e2e/faults_test.go): when a destination is disabled or removed between two steps, the
// file is parked with a fix, and a receipt closes the debt whatever the catalog says.
func TestDestinationChanges(t *testing.T) {
	no := false
	for hazard, c := range map[string]struct {
		change  func([]catalog.Workspace)
		attempt int
		class   destination.Class
		reason  string
	}{
		"disabled":      {func(ws []catalog.Workspace) { ws[0].Destinations[0].Enabled = &no }, 0, destination.Hopeless, "disabled"},
		"gone_at_first": {func(ws []catalog.Workspace) { ws[0].Destinations = ws[0].Destinations[1:] }, 0, destination.Transient, "gone"},
		"gone_for_good": {func(ws []catalog.Workspace) { ws[0].Destinations = ws[0].Destinations[1:] }, 2, destination.Hopeless, "gone"},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			job.Attempt = c.attempt
			r.setCatalog(c.change)
			o := r.runJob(t.Context(), job)
			require.Equal(t, outcomeFailed, o.kind)
			require.Equal(t, c.class, o.verdict.Class)
			require.Equal(t, c.reason, o.verdict.Reason)
			require.Equal(t, destination.ScopeFile, o.verdict.Scope)

			require.NoError(t, r.park(t.Context(), job, o.verdict))
			infos, err := r.staging.List(t.Context(), delivery.ParkedPrefix(acmeOne), "", 0)
			require.NoError(t, err)
			require.Len(t, infos, 1)

			// A receipt closes the debt whatever the catalog says now.
			require.NoError(t, receipt.Write(t.Context(), r.staging, delivery.Receipt{File: job.File, Destination: acmeOne, Outcome: delivery.Skipped}))
			require.Equal(t, outcomeMoot, r.runJob(t.Context(), job).kind)
		})
	}
}
