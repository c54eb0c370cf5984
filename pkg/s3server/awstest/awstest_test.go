package awstest

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = Prefix + "/segment-logs/" + SourceID + "/1795824000000/file.gz"

// deliver makes a delivery without retries.
func deliver(t *testing.T, w *World) error {
	target := w.Target()
	opts := objstore.PutOptions{IfAbsent: true, SHA256: sha256.Sum256([]byte("body")), ContentType: "text/plain", ACL: target.ACL}
	if target.SSE {
		opts.ServerSideEncryption = "AES256"
	}
	store := w.Open(target, nil)
	if target.RoleARN != "" {
		session, err := policy.Session(target)
		require.NoError(t, err)
		creds, err := w.Roles().Credentials(t.Context(), assumerole.Request{RoleARN: target.RoleARN, ExternalID: target.Workspace, SessionPolicy: session})
		if err != nil {
			return err
		}
		store = w.Open(target, func(context.Context) (objstore.Credentials, error) { return creds, nil })
	}
	_, err := store.Put(t.Context(), key, strings.NewReader("body"), opts)
	return err
}

func TestSoundWorldsDeliver(t *testing.T) {
	for _, s := range Setups() {
		t.Run(string(s), func(t *testing.T) {
			w := OpenSound(t, s)
			require.NoError(t, deliver(t, w))
			require.ErrorIs(t, deliver(t, w), objstore.ErrExists)
		})
	}
}

// Each hazard gets the answer that it declares, stores nothing, and is the only thing that is
// wrong.
func TestDenials(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Denials() {
		require.False(t, seen[d.Name], "%s is there twice", d.Name)
		seen[d.Name] = true
		t.Run(d.Name, func(t *testing.T) {
			w := d.Open(t)
			require.Equal(t, d.Classic, w.Target().RoleARN == "")
			err := deliver(t, w)
			if d.Op == "" {
				require.NoError(t, err)
				w.Repair()
				require.ErrorIs(t, deliver(t, w), objstore.ErrExists)
				return
			}
			op, status, code, message := answer(t, err)
			require.Equal(t, d.Op, op, "%v", err)
			require.Equal(t, d.Status, status, "%v", err)
			require.Equal(t, d.Code, code)
			require.Contains(t, message, d.MessagePart)
			if d.MessagePart == "Access Denied" {
				require.Equal(t, d.MessagePart, message, "the message reveals more than S3 does")
			}
			w.Repair()
			require.NoError(t, deliver(t, w), "nothing was stored, and nothing else was wrong")
		})
	}
	t.Logf("%d hazards", len(seen))
}

// A client that follows the region in the answer delivers if the hazard says so, and only then.
func TestFollowing(t *testing.T) {
	for _, d := range bucketDenials() {
		if d.Remedy == Nothing {
			continue // it would be retried, with pauses
		}
		t.Run(d.Name, func(t *testing.T) {
			w := d.Open(t)
			putter := destination.NewPutter(destination.Config{Roles: w.Roles(), Open: w.Open})
			_, err := putter.Put(t.Context(), w.Target(), destination.Object{
				Key: key, Body: strings.NewReader("body"), SHA256: sha256.Sum256([]byte("body")),
			})
			require.Equal(t, d.FollowsRegion, err == nil, "%v", err)
		})
	}
}

func answer(t *testing.T, err error) (op string, status int, code, message string) {
	var refused *assumerole.Error
	if errors.As(err, &refused) {
		return "AssumeRole", refused.Status, refused.Code, refused.Message
	}
	var answered *objstore.Error
	require.ErrorAs(t, err, &answered)
	return "PutObject", answered.Status, answered.Code, answered.Message
}
