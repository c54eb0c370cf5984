package netguard

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClassify(t *testing.T) {
	for address, want := range map[string]reachability{
		"1.1.1.1": public, "52.218.0.1": public, "172.32.0.1": public, "172.15.255.255": public, "100.128.0.1": public,
		"11.0.0.1": public, "192.169.0.1": public, "169.253.0.1": public, "2600:1f00::1": public, "2a05:d000::1": public,

		"127.0.0.1": internal, "127.255.255.254": internal, "10.0.0.1": internal, "172.16.0.1": internal, "172.31.255.255": internal,
		"192.168.1.1": internal, "100.64.0.1": internal, "100.127.255.255": internal, "198.19.0.1": internal,
		"::1": internal, "fc00::1": internal, "fd12:3456::1": internal,
		"::ffff:127.0.0.1": internal, "::ffff:10.1.2.3": internal,
		"64:ff9b::7f00:1": internal, "64:ff9b::a00:1": internal, "2002:7f00:1::": internal, "2002:c0a8:101::1": internal,

		"169.254.169.254": forbidden, "169.254.0.1": forbidden, "::ffff:169.254.169.254": forbidden, "64:ff9b::a9fe:a9fe": forbidden,
		"2002:a9fe:a9fe::": forbidden, "fd00:ec2::254": forbidden, "fe80::1": forbidden, "fe80::1%eth0": forbidden, "fec0::1": forbidden,
		"0.0.0.0": forbidden, "0.1.2.3": forbidden, "::": forbidden, "::7f00:1": forbidden, "255.255.255.255": forbidden, "240.0.0.1": forbidden,
		"224.0.0.1": forbidden, "ff02::1": forbidden, "192.0.0.1": forbidden, "192.0.2.1": forbidden, "203.0.113.9": forbidden,
		"64:ff9b:1::1": forbidden, "2001::1": forbidden, "2001:db8::1": forbidden, "100.100.100.200": forbidden, "168.63.129.16": forbidden,
	} {
		got, what := classify(netip.MustParseAddr(address))
		require.Equal(t, want, got, "%s is %s", address, what)
	}
	got, _ := classify(netip.Addr{})
	require.Equal(t, forbidden, got)
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		endpoint string
		allowed  []string
		want     string // part of the error; "" for none
	}{
		"public_name":              {endpoint: "https://s3.example.com"},
		"public_name_port_slash":   {endpoint: "https://s3.example.com:8443/"},
		"public_address":           {endpoint: "https://52.218.0.1"},
		"empty":                    {endpoint: "", want: "not a URL"},
		"no_scheme":                {endpoint: "s3.example.com", want: "not a URL"},
		"host_port_only":           {endpoint: "minio:9000", want: "not a URL"},
		"other_scheme":             {endpoint: "ftp://s3.example.com", want: `scheme "ftp"`},
		"s3_uri":                   {endpoint: "s3://bucket", want: `scheme "s3"`},
		"file":                     {endpoint: "file:///etc/passwd", want: "not a URL"},
		"user":                     {endpoint: "https://me:secret@s3.example.com", want: "password"},
		"path":                     {endpoint: "https://s3.example.com/bucket", want: "path"},
		"query":                    {endpoint: "https://s3.example.com?x=1", want: "query"},
		"fragment":                 {endpoint: "https://s3.example.com#x", want: "query"},
		"port_zero":                {endpoint: "https://s3.example.com:0", want: "port"},
		"port_too_large":           {endpoint: "https://s3.example.com:65536", want: "port"},
		"no_host":                  {endpoint: "https://:443", want: "no host"},
		"plain_http":               {endpoint: "http://s3.example.com", want: `"s3.example.com:80" to destinations.allowed_endpoints`},
		"plain_http_listed":        {endpoint: "http://S3.example.com", allowed: []string{"s3.EXAMPLE.com:80"}},
		"plain_http_other_port":    {endpoint: "http://s3.example.com:81", allowed: []string{"s3.example.com:80"}, want: "plain http"},
		"plain_http_public_ip":     {endpoint: "http://52.218.0.1", want: "plain http"},
		"localhost":                {endpoint: "https://localhost", want: "this machine"},
		"localhost_dot":            {endpoint: "https://x.LOCALHOST.", want: "this machine"},
		"localhost_listed":         {endpoint: "http://localhost:9000", allowed: []string{"localhost:9000"}},
		"loopback":                 {endpoint: "https://127.0.0.1:9000", want: `"127.0.0.1:9000" or its CIDR`},
		"loopback_listed":          {endpoint: "http://127.0.0.1:9000", allowed: []string{"127.0.0.1:9000"}},
		"loopback_other_port":      {endpoint: "http://127.0.0.1:9001", allowed: []string{"127.0.0.1:9000"}, want: "loopback"},
		"loopback_network":         {endpoint: "http://127.1.2.3", allowed: []string{"127.0.0.0/8"}},
		"ipv6_loopback":            {endpoint: "https://[::1]", want: "loopback"},
		"ipv6_listed":              {endpoint: "http://[::1]:9000", allowed: []string{"[::1]:9000"}},
		"mapped":                   {endpoint: "https://[::ffff:10.0.0.1]", want: "private"},
		"mapped_listed_as_ipv4":    {endpoint: "https://[::ffff:10.0.0.1]", allowed: []string{"10.0.0.0/24"}},
		"metadata":                 {endpoint: "https://169.254.169.254", want: "metadata"},
		"metadata_not_by_default":  {endpoint: "http://169.254.169.254", allowed: []string{"10.0.0.0/8", "127.0.0.1:80"}, want: "link-local"},
		"metadata_listed":          {endpoint: "http://169.254.169.254", allowed: []string{"169.254.169.254:80"}},
		"network_of_another":       {endpoint: "https://10.1.0.1", allowed: []string{"10.0.0.0/16"}, want: "private"},
		"wrong_entry_url":          {endpoint: "https://s3.example.com", allowed: []string{"http://minio:9000"}, want: "a URL"},
		"wrong_entry_no_port":      {endpoint: "https://s3.example.com", allowed: []string{"minio"}, want: "no host and port"},
		"wrong_entry_cidr":         {endpoint: "https://s3.example.com", allowed: []string{"10.0.0.0/33"}, want: "not a CIDR"},
		"wrong_entry_port":         {endpoint: "https://s3.example.com", allowed: []string{"minio:http"}, want: "not a port"},
		"wrong_entry_mapped_range": {endpoint: "https://s3.example.com", allowed: []string{"::ffff:10.0.0.0/104"}, want: "IPv6 form"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(c.endpoint, c.allowed)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "secret")
			if len(name) < 5 || name[:5] != "wrong" {
				require.ErrorIs(t, err, ErrRefused)
			}
		})
	}
}

func TestParseAllowedNamesEveryProblem(t *testing.T) {
	_, err := ParseAllowed([]string{"minio", "10.0.0.0/8", "x:0"})
	require.ErrorContains(t, err, `"minio"`)
	require.ErrorContains(t, err, `"x:0"`)
	require.NotContains(t, err.Error(), "10.0.0.0/8\"")
}

// serve starts a server and counts the requests that arrive.
func serve(t *testing.T, handler http.HandlerFunc) (target string, arrived *atomic.Int64) {
	arrived = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		if handler != nil {
			handler(w, r)
		}
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	return u.Host, arrived
}

func get(t *testing.T, c *http.Client, target string) (int, error) {
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	require.NoError(t, err)
	response, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

func TestClientRefusesWhatIsNotListed(t *testing.T) {
	target, arrived := serve(t, nil)
	_, err := get(t, Client(nil, nil), "http://"+target)
	require.ErrorIs(t, err, ErrRefused)
	_, err = get(t, Client(nil, nil), "https://"+target)
	require.ErrorIs(t, err, ErrRefused, "https alone does not permit loopback")
	require.Zero(t, arrived.Load())

	status, err := get(t, Client([]string{target}, nil), "http://"+target)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	status, err = get(t, Client([]string{"127.0.0.0/8"}, nil), "http://"+target)
	require.NoError(t, err)
	require.Equal(t, 200, status)
}

// TestRefusalNamesTheEndpointAlone: the key of the request is named by who made it.
func TestRefusalNamesTheEndpointAlone(t *testing.T) {
	_, err := get(t, Client(nil, nil), "http://localhost:1/acme-logs/segment-logs/key.gz?x-id=PutObject")
	var refused *refusal
	require.ErrorAs(t, err, &refused)
	require.Equal(t, `endpoint "http://localhost:1": localhost is this machine; if it is meant, add "localhost:1" to destinations.allowed_endpoints`, refused.Error())
}

func TestClientFollowsNoRedirect(t *testing.T) {
	inner, arrived := serve(t, nil)
	outer, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+inner, http.StatusTemporaryRedirect)
	})
	status, err := get(t, Client([]string{"127.0.0.0/8"}, nil), "http://"+outer)
	require.NoError(t, err)
	require.Equal(t, http.StatusTemporaryRedirect, status)
	require.Zero(t, arrived.Load())
}

func TestClientIgnoresTheEnvironmentsProxy(t *testing.T) {
	require.Nil(t, Client(nil, nil).Transport.(*guardedTransport).next.Proxy)
}

// A name that looked public when it was checked, but resolves to loopback when connecting, is
// refused at the socket.
func TestRebinding(t *testing.T) {
	target, arrived := serve(t, nil)
	_, port, err := net.SplitHostPort(target)
	require.NoError(t, err)

	for name, address := range map[string][4]byte{"loopback": {127, 0, 0, 1}, "metadata": {169, 254, 169, 254}, "private": {10, 0, 0, 1}} {
		t.Run(name, func(t *testing.T) {
			none, err := ParseAllowed(nil)
			require.NoError(t, err)
			endpoint := "https://rebind.example.com:" + port
			require.NoError(t, none.Check(endpoint))
			_, err = get(t, none.client(resolvesTo(t, address), nil), endpoint)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, netip.AddrFrom4(address).String())
		})
	}
	require.Zero(t, arrived.Load())

	listed, err := ParseAllowed([]string{"rebind.example.com:" + port})
	require.NoError(t, err)
	status, err := get(t, listed.client(resolvesTo(t, [4]byte{127, 0, 0, 1}), nil), "http://rebind.example.com:"+port)
	require.NoError(t, err, "a listed name may be internal")
	require.Equal(t, 200, status)
	_, err = get(t, listed.client(resolvesTo(t, [4]byte{169, 254, 169, 254}), nil), "http://rebind.example.com:"+port)
	require.ErrorIs(t, err, ErrRefused, "but never a metadata service")
}

// AWS's interface endpoints have private addresses, and are used with a bucket's name before them.
func TestInterfaceEndpoints(t *testing.T) {
	const endpoint = "bucket.vpce-1a2b-3c4d.s3.eu-west-1.vpce.amazonaws.com"
	const sovereign = "bucket.vpce-1a2b-3c4d.s3.eusc-de-east-1.vpce.amazonaws.eu"
	listed, err := ParseAllowed([]string{endpoint + ":443", sovereign + ":443", "corp.example.com:443", "vpce-9.s3.eu-west-1.vpce.amazonaws.com:443"})
	require.NoError(t, err)
	for host, want := range map[string]bool{
		endpoint:                             true,
		"acme-logs." + endpoint:              true,
		"ACME-logs." + endpoint + ".":        true,
		"acme-logs." + sovereign:             true,
		"a.b." + endpoint:                    false,
		"acme-logs." + endpoint + ".evil.io": false,
		"acme-logs.bucket.vpce-9.s3.eu-west-1.vpce.amazonaws.com": false, // another endpoint
		"vault.corp.example.com":                                  false, // a bucket named vault does not reach the operator's vault
		"x.vpce-9.s3.eu-west-1.vpce.amazonaws.com":                false,
	} {
		require.Equal(t, want, listed.isListedName(host, "443"), host)
		require.False(t, listed.isListedName(host, "80"), host)
	}
}

func TestControl(t *testing.T) {
	a, err := ParseAllowed([]string{"10.0.0.0/8"})
	require.NoError(t, err)
	require.NoError(t, a.checkDial("tcp4", "10.0.0.1:443", false))
	require.NoError(t, a.checkDial("tcp6", "[2600:1f00::1]:443", false))
	require.ErrorIs(t, a.checkDial("tcp4", "127.0.0.1:443", false), ErrRefused)
	require.ErrorIs(t, a.checkDial("tcp6", "[fe80::1%eth0]:443", false), ErrRefused)
	require.ErrorIs(t, a.checkDial("udp", "1.1.1.1:53", false), ErrRefused)
	require.ErrorIs(t, a.checkDial("tcp", "name:1", false), ErrRefused)
}

// resolvesTo returns a resolver that resolves every name to one IPv4 address.
func resolvesTo(t *testing.T, address [4]byte) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
		go answerDNS(theirs, address)
		return ours, nil
	}}
}

// Whatever a customer writes, what is accepted without a list uses https and is not an internal
// address.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		"https://s3.example.com", "http://10.0.0.1", "https://[::ffff:7f00:1]:443", "https://[fe80::1%25eth0]", "https://2130706433", "https://0x7f.1",
		"https://localhost.", "https://a@b", "https://:1", "https://example.com:99999", "//x", "https://[64:ff9b::a00:1]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, endpoint string) {
		if Check(endpoint, nil) != nil {
			return
		}
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			t.Fatalf("%q was accepted", endpoint)
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
			if r, what := classify(ip); r != public {
				t.Fatalf("%q was accepted: %s", endpoint, what)
			}
		}
	})
}
