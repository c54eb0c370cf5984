package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

// embeddedRegion is the default region of the embedded buckets.
const embeddedRegion = "us-east-1"

// stackConfig says where the embedded services listen and keep their data.
type stackConfig struct {
	dir              string
	s3, kafka, redis address
	trimGroups       []string // records are deleted from Kafka once these have committed them; none: never
}

// address is where an embedded service listens.
type address struct {
	at string // host:port; no host means loopback, port 0 any free port
	// chosen says that the user chose the address. If it is taken, that is an error, whereas
	// another address is replaced by any free port.
	chosen bool
	flag   string // sets the address; for errors
}

// stack is Kafka, Redis, and S3 with STS, in this process. Kafka and S3 keep their data in a
// directory.
type stack struct {
	kafka  *embedded.Kafka
	redis  *embedded.Redis
	s3     *s3server.Server
	server *http.Server // serves s3
	s3URL  string
	key    objstore.Credentials
	roles  map[string]stackRole // by ARN, as provision made them, now or in a former run
	// rolesFile keeps roles, so that a migration can still be reverted after a restart.
	rolesFile string
}

// stackRole is a role of the embedded STS: the workspace that may assume it, and the buckets that it
// may put into.
type stackRole struct {
	Workspace string
	Buckets   []string
}

// startStack starts the services. Only one process at a time can use a directory.
func startStack(cfg stackConfig, log *slog.Logger) (_ *stack, err error) {
	s := &stack{rolesFile: filepath.Join(cfg.dir, "roles.json")}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := os.MkdirAll(cfg.dir, 0o700); err != nil {
		return nil, err
	}
	if s.key, err = loadKey(filepath.Join(cfg.dir, "s3-key.json")); err != nil {
		return nil, err
	}
	if b, err := os.ReadFile(s.rolesFile); err == nil {
		_ = json.Unmarshal(b, &s.roles) // without a valid file, roles get what the catalog names now
	}
	// S3 comes first: its lock on the directory fails if another process uses it.
	s.s3, err = s3server.Open(s3server.Config{
		Dir: filepath.Join(cfg.dir, "s3"), AccessKey: s.key.AccessKeyID, SecretKey: s.key.SecretAccessKey.Reveal(),
		Region: embeddedRegion, Log: log,
	})
	if err != nil {
		return nil, err
	}
	err = cfg.s3.listen(log, func(at string) error {
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		s.s3URL = baseURL(l.Addr().String())
		s.server = &http.Server{Handler: s.s3, ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = s.server.Serve(l) }() // ends with Shutdown
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = cfg.kafka.listen(log, func(at string) (err error) {
		s.kafka, err = embedded.StartKafka(embedded.KafkaConfig{Dir: filepath.Join(cfg.dir, "kafka"), Addr: at, TrimGroups: cfg.trimGroups, Log: log})
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, cfg.redis.listen(log, func(at string) (err error) {
		s.redis, err = embedded.StartRedis(at)
		return err
	})
}

// listen calls start with the address and, if that is taken and was not chosen by the user, with
// any free port.
func (a address) listen(log *slog.Logger, start func(at string) error) error {
	host, port, err := a.hostPort()
	if err != nil {
		return err
	}
	err = start(net.JoinHostPort(host, port))
	if err == nil || a.chosen || port == "0" || !isAddrInUse(err) {
		if isAddrInUse(err) {
			return fmt.Errorf("%w; choose another one with %s, :0 is any free port", err, a.flag)
		}
		return err
	}
	log.Info("the usual port is taken, using another one", "address", a.at, "flag", a.flag)
	return start(net.JoinHostPort(host, "0"))
}

func baseURL(addr string) string { return "http://" + embedded.ClientAddr(addr) }

func (a address) hostPort() (host, port string, err error) {
	if host, port, err = net.SplitHostPort(cmp.Or(a.at, ":0")); err != nil {
		return "", "", fmt.Errorf("%s %q: want host:port, or :0 for any free port", a.flag, a.at)
	}
	return cmp.Or(host, "127.0.0.1"), port, nil // loopback, because not all services ask for a password
}

// pickFree returns an address that nobody listens on, for a service that will listen there a little
// later.
func (a address) pickFree(log *slog.Logger) (at string, err error) {
	err = a.listen(log, func(try string) error {
		l, err := net.Listen("tcp", try)
		if err != nil {
			return err
		}
		at = try
		return l.Close()
	})
	return at, err
}

// credentials returns the operator's own, for the embedded S3 and STS.
func (s *stack) credentials(context.Context) (objstore.Credentials, error) { return s.key, nil }

// configure points a configuration at the stack.
func (s *stack) configure(cfg *config.Config) {
	cfg.Kafka.Brokers = []string{s.kafka.Addr()}
	cfg.Kafka.TLS, cfg.Kafka.SASL = config.TLS{}, config.SASL{}
	cfg.Kafka.CreateTopics, cfg.Kafka.Replication = true, -1 // one broker, which has no topics at first
	cfg.Redis = config.Redis{URL: secret.New(s.redis.URL())}
	cfg.Staging.CAFile, cfg.Staging.ExpectedBucketOwner, cfg.STS.CAFile = "", "", ""
	cfg.Destinations.CAFile = ""
	cfg.Staging.Endpoint, cfg.Staging.ForcePathStyle, cfg.Staging.Region = s.s3URL, true, embeddedRegion
	cfg.Destinations.Endpoint, cfg.STS.Endpoint = s.s3URL, s.s3URL
	// A catalog may name the embedded S3 as a destination's endpoint.
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.s3URL, "http://")) // always valid: a listener's
	cfg.Destinations.AllowedEndpoints = append(slices.Clone(cfg.Destinations.AllowedEndpoints), strings.TrimPrefix(s.s3URL, "http://"), "localhost:"+port)
}

// provision creates the buckets and the roles that the catalog names. A role can be assumed only
// with its workspace's id as ExternalId. It keeps what it was allowed before, as customers do until a
// migration is over, so that one can be reverted. Destinations at another endpoint are skipped: their
// buckets are not in the embedded S3. Only one goroutine at a time may call this.
func (s *stack) provision(snapshot *catalog.Snapshot) error {
	roles := map[string]stackRole{} // if two workspaces name one, the first gets it
	var errs []error
	for _, t := range snapshot.Destinations() {
		if t.Endpoint != "" && !s.isOwnEndpoint(t.Endpoint) {
			continue
		}
		errs = append(errs, s.s3.PutBucket(s3server.Bucket{Name: t.BucketName, Region: t.Region}))
		r, known := roles[t.RoleARN]
		if t.RoleARN == "" || known && r.Workspace != t.Workspace {
			continue
		}
		if r.Workspace = t.Workspace; !slices.Contains(r.Buckets, t.BucketName) { // prefixes share a bucket, and a policy's size is limited
			r.Buckets = append(r.Buckets, t.BucketName)
		}
		roles[t.RoleARN] = r
	}
	for arn, r := range roles {
		if before := s.roles[arn]; before.Workspace == r.Workspace {
			more := slices.DeleteFunc(slices.Clone(before.Buckets), func(b string) bool { return slices.Contains(r.Buckets, b) })
			more = append(slices.Clone(r.Buckets), more...)
			if len(more) > len(r.Buckets) && s.putRole(arn, stackRole{r.Workspace, more}) == nil {
				continue
			} // else there are so many that the policy would be too large
		}
		errs = append(errs, s.putRole(arn, r))
	}
	b, err := json.Marshal(s.roles)
	if err == nil {
		err = writeFile(s.rolesFile, b)
	}
	return errors.Join(append(errs, err)...)
}

func (s *stack) putRole(arn string, r stackRole) error {
	if err := s.s3.PutRole(s3server.PutOnlyRole(arn, s.s3.OperatorARN(), r.Workspace, r.Buckets...)); err != nil {
		return err
	}
	if s.roles == nil {
		s.roles = map[string]stackRole{}
	}
	s.roles[arn] = r
	return nil
}

// isOwnEndpoint reports whether an endpoint is the embedded S3.
func (s *stack) isOwnEndpoint(endpoint string) bool {
	u, err := url.Parse(endpoint)
	own, oerr := url.Parse(s.s3URL)
	return err == nil && oerr == nil && u.Scheme == own.Scheme && u.Port() == own.Port() && (u.Host == own.Host || u.Hostname() == "localhost")
}

// close stops the services; the web server stops before S3, which it serves.
func (s *stack) close() error {
	var errs []error
	if s.redis != nil {
		errs = append(errs, s.redis.Close())
	}
	if s.kafka != nil {
		errs = append(errs, s.kafka.Close())
	}
	if s.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			errs = append(errs, s.server.Close())
		}
	}
	if s.s3 != nil {
		errs = append(errs, s.s3.Close())
	}
	return errors.Join(errs...)
}

// loadKey reads the embedded S3's key. If there is none, it generates one and stores it. One that
// is not valid is not replaced: clients that were given it would be refused without a word of why.
func loadKey(path string) (objstore.Credentials, error) {
	var key struct{ AccessKey, SecretKey string }
	b, err := os.ReadFile(path)
	switch {
	case err == nil && json.Unmarshal(b, &key) == nil && key.AccessKey != "" && key.SecretKey != "":
	case err == nil:
		return objstore.Credentials{}, fmt.Errorf("%s does not hold the key of the embedded S3: the file was changed or damaged; put {\"AccessKey\":…,\"SecretKey\":…} back (endpoints.json beside it may still have them), or delete the file to get a new key", path)
	case errors.Is(err, fs.ErrNotExist):
		key.AccessKey, key.SecretKey = "SEALIFT"+rand.Text()[:13], rand.Text()+rand.Text()[:14]
		if b, err = json.Marshal(key); err != nil {
			return objstore.Credentials{}, err
		}
		if err := writeFile(path, append(b, '\n')); err != nil {
			return objstore.Credentials{}, fmt.Errorf("keep the key of the embedded S3: %w", err)
		}
	default:
		return objstore.Credentials{}, fmt.Errorf("read the key of the embedded S3: %w", err)
	}
	return objstore.Credentials{AccessKeyID: key.AccessKey, SecretAccessKey: secret.New(key.SecretKey)}, nil
}

// writeFile replaces a file atomically. Only its owner may read it.
func writeFile(path string, b []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// isAddrInUse reports whether listening failed because the address is taken.
func isAddrInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
