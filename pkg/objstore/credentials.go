package objstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/smithy-go/logging"

	"github.com/sealift/sealift/pkg/secret"
)

// DefaultCredentials returns the process's own credentials as the AWS SDK finds them: environment,
// shared files, web identity, container, instance.
//
// Nothing is read before the first call. Credentials that expire are renewed five minutes before
// that, or when a store says that they have expired; if renewing fails, they are used until a
// minute before they expire. Until any are found, errors match ErrNoCredentials. Keys in shared
// files are read again after five minutes, and replaced if the files still contain keys. The keys
// with which a profile's role is assumed are read again when assuming the role fails. A chain that
// cannot be set up is tried again at the next call. The function is safe for concurrent use.
func DefaultCredentials() func(context.Context) (Credentials, error) { return ProfileCredentials("") }

// ProfileCredentials is like DefaultCredentials with a profile of the shared files, which then
// takes precedence over the environment; "" is the default chain.
func ProfileCredentials(profile string) func(context.Context) (Credentials, error) {
	return (&chain{profile: profile}).credentials
}

const (
	// rereadAfter is how long keys from shared files, which have no expiry, are used before the
	// files are checked again.
	rereadAfter = 5 * time.Minute
	// renewBefore is how long before they expire credentials are renewed: clocks differ, and a
	// request takes time.
	renewBefore = 5 * time.Minute
	// minUsable is the time that they must still be valid to be used when renewing fails.
	minUsable = time.Minute
	// earlyRenewTimeout is how long renewing may take while the old ones are still usable.
	earlyRenewTimeout = 800 * time.Millisecond
	// renewRetryAfter is how long to wait before renewing again after it failed or did not satisfy
	// a store.
	renewRetryAfter = 20 * time.Second
)

// chain is the SDK's chain of credential sources, with its last result.
type chain struct {
	profile string

	mu           sync.Mutex // guards everything below
	provider     aws.CredentialsProvider
	readAt       time.Time   // when the shared files were read
	current      Credentials // zero: none yet, or a store says that they have expired
	everFound    bool        // credentials were found at least once
	earlyTriedAt time.Time   // when renewing early was last tried
	expiredAt    time.Time   // when a store last said that they have expired
}

// hasStaticKeys reports whether a chain found static keys, which it will never renew.
func hasStaticKeys(p aws.CredentialsProvider) bool {
	return aws.IsCredentialsProvider(p, credentials.StaticCredentialsProvider{})
}

// assumesRole reports whether a chain assumes the role of a profile.
func assumesRole(p aws.CredentialsProvider) bool {
	return aws.IsCredentialsProvider(p, &stscreds.AssumeRoleProvider{})
}

// load returns the provider to use. failed is a provider that has just failed, or nil. It is
// replaced, because a provider that assumes a profile's role reads the keys for that from the files
// only once.
func (c *chain) load(ctx context.Context, failed aws.CredentialsProvider) (aws.CredentialsProvider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.provider != nil && c.provider != failed && (time.Since(c.readAt) < rereadAfter || !hasStaticKeys(c.provider)) {
		return c.provider, nil
	}
	// The SDK's own log lines have another format and say nothing that the error does not.
	cfg, err := config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(c.profile), config.WithLogger(logging.Nop{}))
	c.readAt = time.Now()
	switch {
	case err == nil && (c.provider == nil || hasStaticKeys(cfg.Credentials) || assumesRole(c.provider) && assumesRole(cfg.Credentials)):
		c.provider = cfg.Credentials
	case c.provider == nil:
		return nil, fmt.Errorf("load the AWS SDK's default configuration: %w", err)
	} // the file is being written just now; without it we would get the host's role
	return c.provider, nil
}

// credentials returns the credentials to use now.
func (c *chain) credentials(ctx context.Context) (Credentials, error) {
	old, tried := c.usable()
	if tried {
		return old, nil
	}
	asking, cancel := ctx, func() {}
	if old.AccessKeyID != "" {
		asking, cancel = context.WithTimeout(ctx, earlyRenewTimeout)
	}
	defer cancel()
	found, err := c.retrieve(asking)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.current, c.everFound = found, true
	case old.AccessKeyID != "" && ctx.Err() == nil:
		c.earlyTriedAt = time.Now()
		return old, nil
	case !c.everFound && ctx.Err() == nil:
		err = fmt.Errorf("%w: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or run with an instance role (%w)", ErrNoCredentials, err)
	default:
		err = fmt.Errorf("renew AWS credentials: %w", err)
	}
	return found, err
}

// usable returns credentials that should be renewed but are still good enough if that fails (zero
// if there are none), and whether renewing was tried just now.
func (c *chain) usable() (old Credentials, tried bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if left := time.Until(c.current.Expires); left < minUsable || left > renewBefore {
		return Credentials{}, false
	}
	return c.current, time.Since(c.earlyTriedAt) < renewRetryAfter
}

func (c *chain) retrieve(ctx context.Context) (Credentials, error) {
	provider, err := c.load(ctx, nil)
	if err != nil {
		return Credentials{}, err
	}
	found, err := provider.Retrieve(ctx)
	if err != nil {
		if reloaded, _ := c.load(ctx, provider); reloaded != provider {
			found, err = reloaded.Retrieve(ctx)
		}
	}
	if cached, ok := provider.(*aws.CredentialsCache); ok && err == nil && found.CanExpire && time.Until(found.Expires) <= renewBefore && c.startEarlyRenewal() {
		cached.Invalidate() // otherwise it would keep them to the last moment
		if newer, err := cached.Retrieve(ctx); err == nil {
			found = newer
		}
	}
	if err != nil {
		return Credentials{}, err
	}
	out := Credentials{AccessKeyID: found.AccessKeyID, SecretAccessKey: secret.New(found.SecretAccessKey), SessionToken: secret.New(found.SessionToken), chain: c}
	if found.CanExpire {
		out.Expires = found.Expires
	}
	return out, nil
}

// startEarlyRenewal reports whether to renew credentials before they expire. A source without newer
// ones, as many a credential_process is, is asked only every renewRetryAfter, not for each request.
func (c *chain) startEarlyRenewal() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.earlyTriedAt) < renewRetryAfter {
		return false
	}
	c.earlyTriedAt = time.Now()
	return true
}

// markExpired records that a store says, by its clock, that these credentials have expired. The
// next call gets new ones.
func (c *chain) markExpired(accessKeyID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cached, ok := c.provider.(*aws.CredentialsCache)
	if !ok || c.current.AccessKeyID != accessKeyID || time.Since(c.expiredAt) < renewRetryAfter {
		return // others are already in use, or there are no others
	}
	c.expiredAt, c.current, c.readAt = time.Now(), Credentials{}, time.Time{}
	cached.Invalidate()
}

// DefaultRegion returns the region that the AWS SDK would use (AWS_REGION, shared configuration),
// or else us-east-1.
func DefaultRegion(ctx context.Context) string { return ProfileRegion(ctx, "") }

// ProfileRegion is like DefaultRegion with a profile of the shared files.
func ProfileRegion(ctx context.Context, profile string) string {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(profile))
	if err != nil || cfg.Region == "" {
		return "us-east-1"
	}
	return cfg.Region
}
