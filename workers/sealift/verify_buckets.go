package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
	"github.com/sealift/sealift/pkg/verify"
)

// bucketReader opens customers' buckets for reading.
type bucketReader struct {
	*services
	catalog *catalog.Live // nil: it cannot be read
}

func (b *bucketReader) open(ctx context.Context, dest string) (verify.Bucket, error) {
	if b.catalog == nil {
		return verify.Bucket{}, errors.New("the catalog cannot be read")
	}
	t, ok := b.catalog.Snapshot().Destination(dest)
	if !ok {
		return verify.Bucket{}, verify.ErrNoDestination
	}
	out := verify.Bucket{Server: t.Endpoint, Name: t.BucketName, Prefix: t.Prefix}
	var errs []error
	if t.RoleARN != "" {
		creds, err := b.readerCredentials(ctx, t)
		if err == nil {
			if out.Store, err = b.openListable(ctx, t, creds); err == nil {
				return out, nil
			}
		}
		errs = append(errs, fmt.Errorf("as role %s: %w", t.RoleARN, err))
	}
	var err error
	if out.Store, err = b.openListable(ctx, t, nil); err == nil {
		return out, nil
	}
	errs = append(errs, fmt.Errorf("as Sealift's principal: %w", err))
	for _, err := range errs {
		if !errors.Is(err, objstore.ErrDenied) && !errors.Is(err, objstore.ErrNoBucket) {
			return out, errors.New(errors.Join(errs...).Error()) // only the text: one refusal must not make all of it match ErrDenied
		}
	}
	return out, errors.Join(errs...)
}

// readerCredentials returns credentials of t's role that only allow reading what was delivered to
// t, because the role that t names may be another customer's.
func (b *bucketReader) readerCredentials(ctx context.Context, t catalog.Target) (func(context.Context) (objstore.Credentials, error), error) {
	session, err := policy.ReadSession(t)
	if err != nil {
		return nil, err
	}
	request := assumerole.Request{RoleARN: t.RoleARN, ExternalID: t.Workspace, SessionPolicy: session, FIPS: t.FIPS}
	creds := func(ctx context.Context) (objstore.Credentials, error) { return b.roles.Credentials(ctx, request) }
	if _, err := creds(ctx); err != nil {
		return nil, err
	}
	return creds, b.roles.VerifyTrust(ctx, request)
}

// openListable opens the bucket, in whatever region it is, and tries to list what verify looks at.
func (b *bucketReader) openListable(ctx context.Context, t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) (objstore.Store, error) {
	for range 2 {
		store := b.openBucket(t, creds)
		_, err := store.List(ctx, strings.TrimPrefix(t.Prefix+"/segment-logs/", "/"), "", 1)
		var e *objstore.Error
		if errors.Is(err, objstore.ErrWrongRegion) && errors.As(err, &e) && e.Region != "" {
			t.Region = e.Region
			continue
		}
		return store, err
	}
	return nil, fmt.Errorf("bucket %q: its region is not found", t.BucketName)
}
