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

// DefaultCredentials returns the process's own credentials as the AWS SDK
// finds them: environment, shared files, web identity, container, instance.
//
// Nothing is read before the first call. Those that expire are renewed five minutes
// before, or when a store says that they have expired; while that fails they are used
// until a minute before. Keys of shared files are read again after five minutes,
// and what is there then is used if it is keys. Keys with which a profile's role is
// assumed are read again when it cannot be. A chain that cannot be set up is
// tried again at the next call. The function is safe for concurrent use.
func DefaultCredentials() func(context.Context) (Credentials, error) { return ProfileCredentials("") }

// ProfileCredentials is DefaultCredentials with a profile of the shared files,
// which then goes before the environment; "" is the default chain.
func ProfileCredentials(profile string) func(context.Context) (Credentials, error) {
	return (&chain{profile: profile}).credentials
}

const (
	// readAgain is how long keys of shared files, which do not say that they expire, are
	// used before those are looked at again.
	readAgain = 5 * time.Minute
	// renewBefore is what credentials have left when they are renewed: clocks differ,
	// and a request takes its time.
	renewBefore = 5 * time.Minute
	// lastResort is what they must have left to be used when they cannot be renewed.
	lastResort = time.Minute
	// patience is how long renewing may take while they can be used.
	patience = 800 * time.Millisecond
	// renewAgain is how long after it failed, or was of no use to a store, it is done again.
	renewAgain = 20 * time.Second
)

// chain is the SDK's chain of sources of credentials, with what came of it.
type chain struct {
	profile string

	mu       sync.Mutex // guards all below
	provider aws.CredentialsProvider
	read     time.Time   // when the shared files were
	last     Credentials // zero: none yet, or a store says that they have expired
	tried    time.Time   // when they were last to be renewed early
	refused  time.Time   // when a store last said that they have expired
}

// areKeys tells whether what a chain found are keys that it will never renew.
func areKeys(p aws.CredentialsProvider) bool {
	return aws.IsCredentialsProvider(p, credentials.StaticCredentialsProvider{})
}

// assumes tells whether a chain assumes the role of a profile.
func assumes(p aws.CredentialsProvider) bool {
	return aws.IsCredentialsProvider(p, &stscreds.AssumeRoleProvider{})
}

// load returns the provider to ask. failed is one that gave nothing: one that assumes a
// profile's role has the keys for that from the files too, and reads them once.
func (c *chain) load(ctx context.Context, failed aws.CredentialsProvider) (aws.CredentialsProvider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.provider != nil && c.provider != failed && (time.Since(c.read) < readAgain || !areKeys(c.provider)) {
		return c.provider, nil
	}
	// The SDK's own lines, not of this log and its format, say nothing that the error does not.
	cfg, err := config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(c.profile), config.WithLogger(logging.Nop{}))
	c.read = time.Now()
	switch {
	case err == nil && (c.provider == nil || areKeys(cfg.Credentials) || assumes(c.provider) && assumes(cfg.Credentials)):
		c.provider = cfg.Credentials
	case c.provider == nil:
		return nil, fmt.Errorf("load the AWS SDK's default configuration: %w", err)
	} // else somebody is just writing the file: without it we would become the host's role
	return c.provider, nil
}

// credentials are those to use now.
func (c *chain) credentials(ctx context.Context) (Credentials, error) {
	old, tried := c.usable()
	if tried {
		return old, nil
	}
	asking, cancel := ctx, func() {}
	if old.AccessKeyID != "" {
		asking, cancel = context.WithTimeout(ctx, patience)
	}
	defer cancel()
	found, err := c.retrieve(asking)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.last = found
	case old.AccessKeyID != "" && ctx.Err() == nil:
		c.tried = time.Now()
		return old, nil
	}
	return found, err
}

// usable returns credentials that are to be renewed and will do if they cannot be, and
// whether that was just tried; zero: there are none.
func (c *chain) usable() (old Credentials, tried bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if left := time.Until(c.last.Expires); left < lastResort || left > renewBefore {
		return Credentials{}, false
	}
	return c.last, time.Since(c.tried) < renewAgain
}

func (c *chain) retrieve(ctx context.Context) (Credentials, error) {
	provider, err := c.load(ctx, nil)
	if err != nil {
		return Credentials{}, err
	}
	found, err := provider.Retrieve(ctx)
	if err != nil {
		if again, _ := c.load(ctx, provider); again != provider {
			found, err = again.Retrieve(ctx)
		}
	}
	if cached, ok := provider.(*aws.CredentialsCache); ok && err == nil && found.CanExpire && time.Until(found.Expires) <= renewBefore && c.early() {
		cached.Invalidate() // it would keep them to their last moment
		if newer, err := cached.Retrieve(ctx); err == nil {
			found = newer
		}
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("find AWS credentials (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or run with an instance role): %w", err)
	}
	out := Credentials{AccessKeyID: found.AccessKeyID, SecretAccessKey: secret.New(found.SecretAccessKey), SessionToken: secret.New(found.SessionToken), from: c}
	if found.CanExpire {
		out.Expires = found.Expires
	}
	return out, nil
}

// early tells whether to renew credentials before they expire. What has none newer yet,
// as many a credential_process, is asked again after a while, and not by each request.
func (c *chain) early() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.tried) < renewAgain {
		return false
	}
	c.tried = time.Now()
	return true
}

// expired is told of credentials that a store says have expired, by its clock: the next
// ones to be asked for are new.
func (c *chain) expired(accessKeyID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cached, ok := c.provider.(*aws.CredentialsCache)
	if !ok || c.last.AccessKeyID != accessKeyID || time.Since(c.refused) < renewAgain {
		return // others are in use already, or there are no others
	}
	c.refused, c.last, c.read = time.Now(), Credentials{}, time.Time{}
	cached.Invalidate()
}

// DefaultRegion is the region that the AWS SDK would use (AWS_REGION, shared
// configuration), else us-east-1.
func DefaultRegion(ctx context.Context) string { return ProfileRegion(ctx, "") }

// ProfileRegion is DefaultRegion with a profile of the shared files.
func ProfileRegion(ctx context.Context, profile string) string {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(profile))
	if err != nil || cfg.Region == "" {
		return "us-east-1"
	}
	return cfg.Region
}
