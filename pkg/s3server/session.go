package s3server

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// session is the content of a session token, which is signed with the server's key. The server
// keeps no list of sessions: they survive a restart, and end when they expire or their role is not
// registered any more.
type session struct {
	AccessKey string `json:"a"`
	Role      string `json:"r"` // ARN
	Name      string `json:"n"` // RoleSessionName
	Policy    string `json:"p,omitempty"`
	Issued    int64  `json:"i"` // unix microseconds
	Expires   int64  `json:"e"` // unix seconds
}

// temporaryKeyPrefix is the prefix of sessions' access keys, as in AWS.
const temporaryKeyPrefix = "ASIA"

// issueSession creates temporary credentials.
func (s *Server) issueSession(role, name, policy string, expires time.Time) (accessKey, secret, token string) {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails
	accessKey = temporaryKeyPrefix + base32.StdEncoding.EncodeToString(b[:])
	raw, err := json.Marshal(session{AccessKey: accessKey, Role: role, Name: name, Policy: policy, Issued: s.now().UnixMicro(), Expires: expires.Unix()})
	if err != nil {
		panic(err) // strings and a number
	}
	body := base64.RawURLEncoding.EncodeToString(raw)
	return accessKey, s.sessionSecret(accessKey), body + "." + s.signToken(body)
}

func (s *Server) sessionSecret(accessKey string) string {
	return base64.RawStdEncoding.EncodeToString(mac(s.sessionKey, "secret of "+accessKey))[:40]
}

func (s *Server) signToken(body string) string {
	return base64.RawURLEncoding.EncodeToString(mac(s.sessionKey, "token "+body))
}

// readToken returns the session of a token, or false if the token is not ours.
func (s *Server) readToken(token string) (session, bool) {
	body, seal, _ := strings.Cut(token, ".")
	if !hmac.Equal([]byte(seal), []byte(s.signToken(body))) {
		return session{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	var out session
	if err != nil || json.Unmarshal(raw, &out) != nil {
		return session{}, false
	}
	return out, true
}

// sessionARN returns AWS's name of a session: arn:aws:sts::{account}:assumed-role/{role}/{session}.
func sessionARN(role, name string) string {
	m := roleARN.FindStringSubmatch(role)
	if m == nil {
		return role
	}
	path := m[2]
	return fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", m[1], path[strings.LastIndex(path, "/")+1:], name)
}

// loadKey reads the key that signs sessions, or creates one.
func loadKey(name string) ([]byte, error) {
	key, err := os.ReadFile(name)
	switch {
	case err == nil && len(key) == 32:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf("read %q: %d bytes, want 32; delete it, and all sessions end", name, len(key))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	key = make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key, writeFile(name, key)
}
