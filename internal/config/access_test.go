package config

import (
	"slices"
	"strings"
	"testing"
)

// quiet is an environment that says nothing of TLS.
func quiet(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{"DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": "", "DOCKER_CONFIG": "", "HOME": "/root"} {
		t.Setenv(name, value)
	}
}

// TestHosts: what an address leaves out is what dockerd would take.
func TestHosts(t *testing.T) {
	quiet(t)
	for args, want := range map[string]string{
		"":                            "unix:///run/docker.sock",
		"-H unix://":                  "unix:///run/docker.sock",
		"-H unix:///a -H unix:///a":   "unix:///a",
		"-H fd://":                    "fd://",
		"-H fd://4 -H unix:///b":      "fd://4 unix:///b",
		"--insecure -H tcp://":        "tcp://localhost:2375",
		"--insecure -H 127.0.0.1":     "tcp://127.0.0.1:2375",
		"--insecure -H 127.0.0.2:99":  "tcp://127.0.0.2:99",
		"--insecure -H tcp://[::1]:9": "tcp://[::1]:9",
		"--insecure -H ::ffff:1":      "invalid bind address (tcp://::ffff:1): want tcp://address:port, an IPv6 address in brackets",
		"--tlsverify":                 "tcp://localhost:2376",
		"--tlsverify -H :2376":        "tcp://:2376",
		"--tlsverify -H 0.0.0.0:1":    "tcp://0.0.0.0:1",
		"-H tcp://127.0.0.1:2375/x":   "invalid bind address (tcp://127.0.0.1:2375/x): should not contain a path element",
		"-H tcp://u@h:1":              "invalid bind address (tcp://u@h:1): want tcp://address:port",
		"-H tcp://h:x":                "invalid bind address (tcp://h:x): ",
		"-H npipe://":                 "invalid bind address (npipe://): unsupported proto 'npipe': use unix://, tcp:// or fd://",
		"-H unix://tcp://a":           "invalid bind address (unix://tcp://a): invalid unix address: tcp://a",
	} {
		c, err := Parse(append([]string{withFile(t, "{}")}, strings.Fields(args)...))
		if got := strings.Join(c.Hosts, " "); err == nil && got != want || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %q, error %v, want %q", args, got, err, want)
		}
	}
}

// TestTCPWithoutTLSIsRefused: who may use the API is root, so TCP asks who it is. The exception is for this machine
// alone, and asked for in words.
func TestTCPWithoutTLSIsRefused(t *testing.T) {
	quiet(t)
	const refused = "Binding to IP address without --tlsverify is insecure and gives root access on this machine to everyone who has access to your network"
	for _, c := range []struct{ args, file, want string }{
		{"-H tcp://0.0.0.0:2375", "{}", refused},
		{"-H tcp://127.0.0.1:2375", "{}", "or give --insecure if every program and user of this machine may be root"},
		{"-H tcp://127.0.0.1:2375 --insecure", "{}", ""},
		{"-H tcp://[::ffff:127.0.0.1]:2375 --insecure", "{}", ""},
		{"-H tcp://localhost:2375", `{"insecure": true}`, ""},
		{"-H tcp://0.0.0.0:2375 --insecure", "{}", "--insecure is for addresses of this machine alone"},
		{"-H tcp://:2375 --insecure", "{}", refused},
		{"-H tcp://localhost.example:2375 --insecure", "{}", refused},
		{"-H tcp://192.0.2.1:2375", `{"tls": false}`, refused},
		{"", `{"hosts": ["unix:///a", "tcp://192.0.2.1:2376"]}`, refused},
		{"-H tcp://192.0.2.1:2376 --tlsverify=false", "{}", refused},
		{"-H tcp://192.0.2.1:2376 --tls --tlsverify=false --insecure", "{}", refused},
		{"-H tcp://192.0.2.1:2376 --tlsverify", "{}", ""},
		{"-H tcp://192.0.2.1:2376 --tls", "{}", ""},
		{"-H tcp://192.0.2.1:2376", `{"tlsverify": true, "tlscacert": "/ca", "tlscert": "/cert", "tlskey": "/key"}`, ""},
	} {
		_, err := Parse(append([]string{withFile(t, c.file), "--validate"}, strings.Fields(c.args)...))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %s: error %v, want %q", c.args, c.file, err, c.want)
		}
	}
}

// TestTLS: what one of the switches says of the other, and where the files are.
func TestTLS(t *testing.T) {
	quiet(t)
	standard := TLS{CA: "/root/.docker/ca.pem", Cert: "/root/.docker/cert.pem", Key: "/root/.docker/key.pem"}
	on, unverified := standard, standard
	on.Enabled, on.Verify, unverified.Enabled = true, true, true
	named := TLS{true, true, "/a", "/b", "/c"}
	for _, c := range []struct {
		args, env string
		want      TLS
	}{
		{"", "", standard}, {"--tls", "", on}, {"--tlsverify", "", on}, {"--tlsverify=false", "", unverified}, {"--tls=false --tlsverify", "", on},
		{"", "1", on}, {"--tls --tlscacert /a --tlscert /b --tlskey /c", "", named},
	} {
		t.Setenv("DOCKER_TLS_VERIFY", c.env)
		got, err := Parse(append([]string{withFile(t, "{}"), "--host=unix:///a"}, strings.Fields(c.args)...))
		if err != nil || got.TLS != c.want {
			t.Errorf("%s: %+v (%v), want %+v", c.args, got.TLS, err, c.want)
		}
	}
	t.Setenv("DOCKER_TLS_VERIFY", "")
	t.Setenv("DOCKER_CONFIG", "/config")
	if got := certificateFolder(func(name string) string {
		return map[string]string{"DOCKER_CONFIG": "/config", "DOCKER_CERT_PATH": "/certs"}[name]
	}); got != "/certs" {
		t.Errorf("certificates in %s", got)
	}
	if got, err := Parse([]string{withFile(t, "{}")}); err != nil || got.TLS.Key != "/config/key.pem" {
		t.Errorf("%+v, %v", got.TLS, err)
	}
}

func TestMetricsAddr(t *testing.T) {
	for address, ok := range map[string]bool{"127.0.0.1:9323": true, ":9323": true, "[::]:9323": true, "9323": false, "h:": false, "h:99999": false, "http://h:1": false} {
		c, err := Parse([]string{withFile(t, "{}"), "--metrics-addr", address})
		if ok != (err == nil) || ok && c.MetricsAddr != address {
			t.Errorf("%s: %q, %v", address, c.MetricsAddr, err)
		}
	}
}

// FuzzHosts: whatever is asked for, nothing listens on TCP that others than this machine reach and that verifies nobody,
// and what was completed once is complete.
func FuzzHosts(f *testing.F) {
	for _, host := range []string{"", "tcp://", ":1", "unix://", "fd://3", "tcp://[::1]:1", "[fe80::1%25eth0]:1", "localhost"} {
		f.Add(host, true)
	}
	f.Fuzz(func(t *testing.T, host string, tls bool) {
		all, err := hosts([]string{host}, tls)
		if err != nil {
			return
		}
		if strings.Contains(all[0], "%") { // a URL writes the zone of an address otherwise than net.Listen wants it
			return
		}
		if again, err := hosts(all, tls); err != nil || !slices.Equal(again, all) {
			t.Errorf("%q is %q, which is %q (%v)", host, all, again, err)
		}
		address, tcp := strings.CutPrefix(all[0], "tcp://")
		if err := (Config{Hosts: all, Insecure: true}).checkAccess(); tcp && err == nil && !strings.HasPrefix(address, "localhost:") && !strings.Contains(address, "127.") && !strings.Contains(address, "::1]") && !strings.Contains(address, "7f") {
			t.Errorf("%q would be open", all[0])
		}
	})
}
