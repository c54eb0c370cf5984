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
// Nothing is read before the first call. The chain caches and refreshes by
// itself, but for keys of shared files: those are read again after five minutes,
// and what is there then is used if it is keys. Keys with which a profile's role is
// assumed are read again when it cannot be. A chain that cannot be set up is
// tried again at the next call. The function is safe for concurrent use.
func DefaultCredentials() func(context.Context) (Credentials, error) { return ProfileCredentials("") }

// readAgain is how long keys of shared files, which do not say that they expire, are
// used before those are looked at again.
const readAgain = 5 * time.Minute

// areKeys tells whether what a chain found are keys that it will never renew.
func areKeys(chain aws.CredentialsProvider) bool {
	return aws.IsCredentialsProvider(chain, credentials.StaticCredentialsProvider{})
}

// assumes tells whether a chain assumes the role of a profile.
func assumes(chain aws.CredentialsProvider) bool {
	return aws.IsCredentialsProvider(chain, &stscreds.AssumeRoleProvider{})
}

// ProfileCredentials is DefaultCredentials with a profile of the shared files,
// which then goes before the environment; "" is the default chain.
func ProfileCredentials(profile string) func(context.Context) (Credentials, error) {
	var (
		mu    sync.Mutex // guards all below
		chain aws.CredentialsProvider
		read  time.Time // when the shared files were
	)
	// failed is a chain that gave nothing. One that assumes a profile's role has the keys
	// for that from the files too, and reads them once.
	load := func(ctx context.Context, failed aws.CredentialsProvider) (aws.CredentialsProvider, error) {
		mu.Lock()
		defer mu.Unlock()
		if chain != nil && chain != failed && (time.Since(read) < readAgain || !areKeys(chain)) {
			return chain, nil
		}
		// The SDK's own lines, not of this log and its format, say nothing that the error does not.
		cfg, err := config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(profile), config.WithLogger(logging.Nop{}))
		read = time.Now()
		switch {
		case err == nil && (chain == nil || areKeys(cfg.Credentials) || assumes(chain) && assumes(cfg.Credentials)):
			chain = cfg.Credentials
		case chain == nil:
			return nil, fmt.Errorf("load the AWS SDK's default configuration: %w", err)
		} // else somebody is just writing the file: without it we would become the host's role
		return chain, nil
	}
	return func(ctx context.Context) (Credentials, error) {
		provider, err := load(ctx, nil)
		if err != nil {
			return Credentials{}, err
		}
		c, err := provider.Retrieve(ctx)
		if err != nil {
			if again, _ := load(ctx, provider); again != provider {
				c, err = again.Retrieve(ctx)
			}
		}
		if err != nil {
			return Credentials{}, fmt.Errorf("find AWS credentials (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or run with an instance role): %w", err)
		}
		out := Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: secret.New(c.SecretAccessKey), SessionToken: secret.New(c.SessionToken)}
		if c.CanExpire {
			out.Expires = c.Expires
		}
		return out, nil
	}
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
