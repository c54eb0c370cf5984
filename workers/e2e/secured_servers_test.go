//go:build stack

package e2e

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/certs/certtest"
	"github.com/sealift/sealift/pkg/porttest"
)

// secured is a real Kafka, Redis and MinIO that only admit known clients, over TLS. They belong to
// one test, which ends them.
type secured struct {
	ca     *certtest.CA
	client certtest.Pair // known to Kafka's port for client certificates, and to Redis

	sasl, mutual, plain string // Kafka's ports: SASL over TLS, certificates, neither
	redis               string // TLS with certificates and users
	s3                  string // TLS
}

// kafkaUsers has the users by their mechanism.
var kafkaUsers = map[string]string{"plain": "u-plain", "scram-sha-256": "u-scram256", "scram-sha-512": "u-scram512"}

// securedPassword is the password of all users here.
const securedPassword = "hunter2-Hunter2"

func startSecured(t *testing.T) *secured {
	libs, minio := env(t, "SEALIFT_TEST_KAFKA_LIBS"), env(t, "SEALIFT_TEST_MINIO")
	ca := certtest.NewCA(t, "the operator's")
	s := &secured{
		ca: ca, client: ca.Issue("client", nil),
		sasl: porttest.Free(t), mutual: porttest.Free(t), plain: porttest.Free(t), redis: porttest.Free(t), s3: porttest.Free(t),
	}
	server := ca.Issue("server", func(c *x509.Certificate) { c.DNSNames = nil }) // not valid for localhost
	s.startKafka(t, libs, server)
	s.startRedis(t, server)
	s.startMinIO(t, minio, server)
	for _, addr := range []string{s.sasl, s.mutual, s.plain, s.redis, s.s3} {
		require.Eventually(t, func() bool {
			conn, err := net.DialTimeout("tcp", addr, time.Second)
			if err != nil {
				return false
			}
			return conn.Close() == nil
		}, 2*time.Minute, 100*time.Millisecond, addr)
	}
	return s
}

func (s *secured) startKafka(t *testing.T, libs string, server certtest.Pair) {
	dir := t.TempDir()
	pem := filepath.Join(dir, "server.pem")
	require.NoError(t, os.WriteFile(pem, append(read(t, server.Key), read(t, server.Cert)...), 0o600))
	controller := porttest.Free(t)
	properties := filepath.Join(dir, "server.properties")
	require.NoError(t, os.WriteFile(properties, fmt.Appendf(nil, `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[1]s
listeners=SASL://%[2]s,MUTUAL://%[3]s,PLAIN://%[4]s,CONTROLLER://%[1]s
advertised.listeners=SASL://%[2]s,MUTUAL://%[3]s,PLAIN://%[4]s
listener.security.protocol.map=SASL:SASL_SSL,MUTUAL:SSL,PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%[5]s="%[6]s";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.mutual.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location=%[7]s
ssl.truststore.type=PEM
ssl.truststore.location=%[8]s
log.dirs=%[9]s
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
`, controller, s.sasl, s.mutual, s.plain, kafkaUsers["plain"], securedPassword, pem, s.ca.File, filepath.Join(dir, "data")), 0o600))
	jvm := []string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true", "-cp", libs + "/*"}
	format := append(jvm[:len(jvm):len(jvm)], "kafka.tools.StorageTool", "format", "-c", properties, "-t", "MkU3OEVBNTcwNTJENDM2Qk")
	for mechanism, user := range kafkaUsers {
		if mechanism != "plain" {
			format = append(format, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", strings.ToUpper(mechanism), user, securedPassword))
		}
	}
	out, err := exec.Command("java", format...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	startServer(t, nil, "java", append(jvm, "kafka.Kafka", properties)...)
}

func (s *secured) startRedis(t *testing.T, server certtest.Pair) {
	dir := t.TempDir()
	_, port, err := net.SplitHostPort(s.redis)
	require.NoError(t, err)
	conf := filepath.Join(dir, "redis.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `bind 127.0.0.1
port 0
tls-port %s
tls-cert-file %s
tls-key-file %s
tls-ca-cert-file %s
tls-auth-clients yes
dir %s
save ""
user default off
user sealift on >%[6]s ~sealift:* +@read +@write +@scripting +@connection
user nobody on >%[6]s ~none:* +@connection -ping
`, port, server.Cert, server.Key, s.ca.File, dir, securedPassword), 0o600))
	startServer(t, nil, "redis-server", conf)
}

func (s *secured) startMinIO(t *testing.T, binary string, server certtest.Pair) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "certs")
	require.NoError(t, os.Mkdir(keys, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(keys, "public.crt"), read(t, server.Cert), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(keys, "private.key"), read(t, server.Key), 0o600))
	startServer(t, []string{
		"MINIO_ROOT_USER=sealift", "MINIO_ROOT_PASSWORD=" + securedPassword, "MINIO_UPDATE=off", "MINIO_BROWSER=off",
		"MINIO_CALLHOME_ENABLE=off", "MINIO_SCANNER_SPEED=slowest", "MINIO_CI_CD=1",
		"MINIO_KMS_SECRET_KEY=sealift-test:" + base64.StdEncoding.EncodeToString(make([]byte, 32)), // without one it refuses SSE-S3
	}, binary, "server", "--quiet", "--certs-dir", keys, "--address", s.s3, filepath.Join(dir, "data"))
}

// startServer runs a server, with env added to its environment, until the test ends, and shows the
// end of its output if the test failed.
func startServer(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	log, err := os.Create(path)
	require.NoError(t, err)
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // reports that it was killed
		_ = log.Close()
		if t.Failed() {
			text := string(read(t, path))
			t.Logf("%s said at its end:\n%s", filepath.Base(name), text[max(0, len(text)-4000):])
		}
	})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}
