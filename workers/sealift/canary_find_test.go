package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// secretFinder knows secrets, and finds them in texts, in every form that they may take there.
type secretFinder struct {
	mu    sync.Mutex // guards all below
	known map[string][]needle
	used  map[string]bool // names of the secrets that the product was seen to use
	// signatures are those of requests. There are too many to look for each, but all have the same
	// form.
	signatures map[string]bool
}

// needle is a secret in one form.
type needle struct{ form, text string }

// foundSecret is a secret that was found in a text.
type foundSecret struct{ secret, form string }

func newSecretFinder() *secretFinder {
	return &secretFinder{known: map[string][]needle{}, used: map[string]bool{}, signatures: map[string]bool{}}
}

// plant returns a new secret that is known by name. Only its letters and digits are looked for,
// because no escaping changes these. around is appended, so that there is something to escape.
func (f *secretFinder) plant(name, around string) string {
	core := "cNry" + rand.Text()[:20]
	f.add(name, core)
	return core + around
}

// add makes a secret known that was created elsewhere. A name may have several secrets.
func (f *secretFinder) add(name, secret string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[name] = append(f.known[name], needles(secret)...)
}

// addSignature makes the signature of a request known, and notes that there was one.
func (f *secretFinder) addSignature(signature string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signatures[signature], f.used["signature"] = true, true
}

// needles returns the forms of a secret. Its base64 depends on what precedes it, as in "key:",
// "user:key" or a whole encoded header. There are three cases, by the number of preceding bytes
// modulo 3; the needle for each is the part that depends on the secret alone.
func needles(secret string) []needle {
	all := []needle{
		{"plain", secret},
		{"url", url.QueryEscape(secret)},
		{"path", url.PathEscape(secret)},
		{"quoted", strings.Trim(fmt.Sprintf("%q", secret), `"`)},
		{"hex", hex.EncodeToString([]byte(secret))},
		{"HEX", strings.ToUpper(hex.EncodeToString([]byte(secret)))},
		{"bytes", strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]")},
	}
	for before := range 3 {
		for name, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := e.EncodeToString(append(make([]byte, before), secret...))
			all = append(all, needle{name, text[(before*8+5)/6 : (before+len(secret))*8/6]})
		}
	}
	return all
}

var hex64 = regexp.MustCompile(`[0-9a-f]{64}`)

// findIn returns the secrets that a text contains, each once.
func (f *secretFinder) findIn(text string) []foundSecret {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []foundSecret
	for name, all := range f.known {
		if i := slices.IndexFunc(all, func(n needle) bool { return strings.Contains(text, n.text) }); i >= 0 {
			found = append(found, foundSecret{name, all[i].form})
		}
	}
	for _, hex := range hex64.FindAllString(text, -1) {
		if f.signatures[hex] {
			found = append(found, foundSecret{"signature", "plain"})
			break
		}
	}
	slices.SortFunc(found, func(a, b foundSecret) int { return strings.Compare(a.secret, b.secret) })
	return found
}

// markUsed notes that the product used a secret.
func (f *secretFinder) markUsed(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		f.used[n] = true
	}
}

// unused returns the secrets that nobody was seen to use. Not finding those proves nothing.
func (f *secretFinder) unused() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.known {
		if !f.used[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// markUsedIn marks the secrets in what the product sent as used.
func (f *secretFinder) markUsedIn(sent string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, all := range f.known {
		if !f.used[name] && slices.ContainsFunc(all, func(n needle) bool { return strings.Contains(sent, n.text) }) {
			f.used[name] = true
		}
	}
}

// leaks returns the secrets that a text contains, except the allowed ones.
func (f *secretFinder) leaks(text string, allowed ...string) []string {
	var out []string
	for _, found := range f.findIn(text) {
		if !slices.Contains(allowed, found.secret) {
			out = append(out, fmt.Sprintf("%s (%s)", found.secret, found.form))
		}
	}
	return out
}

// secretRecorder notes which secrets pass over a connection.
type secretRecorder struct {
	f    *secretFinder
	tail []byte
}

func (w *secretRecorder) Write(p []byte) (int, error) {
	w.tail = append(w.tail, p...)
	w.f.markUsedIn(string(w.tail))
	if keep := 512; len(w.tail) > keep {
		w.tail = bytes.Clone(w.tail[len(w.tail)-keep:])
	}
	return len(p), nil
}

// A leak in any of these forms is found, and nothing is found without it.
func TestSecretFinderFindsEveryForm(t *testing.T) {
	f := newSecretFinder()
	secret := f.plant("password", `/+ é%"`)
	token := "FwoGZXIvYXdzE/token+with=all"
	f.add("token", token)
	b64 := base64.StdEncoding.EncodeToString
	for leak, text := range map[string]func(secret string) string{
		"plain":          func(s string) string { return "dial redis://:" + s + "@x: refused" },
		"url_escaped":    func(s string) string { return "Get " + url.QueryEscape(s) },
		"in_json":        func(s string) string { return fmt.Sprintf(`{"err":%q}`, "x "+s) },
		"basic_auth":     func(s string) string { return "Authorization: Basic " + b64([]byte(s+":")) },
		"user_and_key":   func(s string) string { return b64([]byte("user:" + s)) },
		"sasl_plain":     func(s string) string { return b64([]byte("\x00alice\x00" + s)) },
		"odd_offset_1":   func(s string) string { return b64([]byte("x" + s)) },
		"odd_offset_2":   func(s string) string { return base64.URLEncoding.EncodeToString([]byte("xy" + s + "z")) },
		"hex":            func(s string) string { return fmt.Sprintf("%x", s) },
		"HEX":            func(s string) string { return fmt.Sprintf("%X", s) },
		"bytes":          func(s string) string { return fmt.Sprintf("%v", []byte(s)) },
		"go_syntax":      func(s string) string { return fmt.Sprintf("%#v", struct{ p string }{s}) },
		"without_escape": func(s string) string { return s[:24] },
	} {
		require.Len(t, f.leaks(text(secret)), 1, leak)
		require.Empty(t, f.leaks(text(secret), "password"), "%s: an allowed secret is no leak", leak)
		require.Empty(t, f.leaks(text(strings.Repeat("another", 10))), leak)
	}
	for _, text := range []string{token, url.QueryEscape(token), b64([]byte("a" + token)), fmt.Sprintf("%q", token)} {
		require.Equal(t, "token", f.findIn(text)[0].secret, text)
	}
	f.addSignature(strings.Repeat("0a", 32))
	require.NotEmpty(t, f.leaks("Signature="+strings.Repeat("0a", 32)))
	require.Empty(t, f.leaks("sha256="+strings.Repeat("0b", 32)))
	require.Equal(t, []string{"password", "token"}, f.unused())
	w := &secretRecorder{f: f}
	for _, b := range []byte("AUTH default " + secret + "\r\n") { // however the writes are cut
		_, err := w.Write([]byte{b})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"token"}, f.unused(), "the token was not used, so the test has to fail")
}
