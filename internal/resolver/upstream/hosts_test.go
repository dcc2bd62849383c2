package upstream

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReadHostServers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if got, err := ReadHostServers(path); err != nil || got != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"", "[]"},
		{"nameserver 192.0.2.1\nsearch a\nnameserver\t2001:db8::1  # two\n", "[192.0.2.1 2001:db8::1]"},
		{"# nameserver 192.0.2.9\n;nameserver 192.0.2.9\nnameserver\nnameserver nonsense\nnameserverx 192.0.2.9\nnameserver fe80::1%eth0", "[fe80::1%eth0]"},
		{strings.Repeat("nameserver 192.0.2.1\n", 9), "[192.0.2.1]"},
		{"nameserver 127.0.0.53\r\n", "[127.0.0.53]"},
	} {
		write(c.text)
		if got, err := ReadHostServers(path); err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%q: got %v, %v", c.text, got, err)
		}
	}
	h := NewHostFile(path)
	first := h.Servers()
	write("nameserver 192.0.2.7\nnameserver 192.0.2.8\n")
	if got := h.Servers(); !slices.Equal(got, first) {
		t.Errorf("looked twice within a second: %v", got)
	}
	h.checked = time.Time{}
	if got := fmt.Sprint(h.Servers()); got != "[192.0.2.7 192.0.2.8]" {
		t.Errorf("after a change: %v", got)
	}
}

func TestServersBehindTheStub(t *testing.T) {
	dir := t.TempDir()
	h := NewHostFile(filepath.Join(dir, "resolv.conf"))
	h.stub.path = filepath.Join(dir, "behind.conf")
	for _, c := range []struct{ main, behind, want string }{
		{"nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n", "[192.0.2.1]"},
		{"nameserver 127.0.0.53\n", "nameserver 192.0.2.1\nnameserver 192.0.2.2\n", "[192.0.2.1 192.0.2.2]"},
		{"nameserver 127.0.0.53\n", "# nobody\n", "[127.0.0.53]"},
		{"nameserver 127.0.0.53\nnameserver 192.0.2.3\n", "nameserver 192.0.2.1\n", "[127.0.0.53 192.0.2.3]"},
		{"nameserver 127.0.0.54\n", "nameserver 192.0.2.1 \n", "[127.0.0.54]"},
	} {
		for path, text := range map[string]string{h.main.path: c.main, h.stub.path: c.behind} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h.checked = time.Time{}
		if got := fmt.Sprint(h.Servers()); got != c.want {
			t.Errorf("%q, %q: got %s, want %s", c.main, c.behind, got, c.want)
		}
	}
}

// FuzzResolvConf expects that whatever is in the file, the servers are few, valid
// and not said twice.
func FuzzResolvConf(f *testing.F) {
	for _, text := range []string{"", "nameserver 192.0.2.1\n", "nameserver fe80::1%eth0\r\nnameserver\t::1", "nameserver 1.2.3.4 # x\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		servers := serversIn([]byte(text))
		seen := map[netip.Addr]bool{}
		for _, s := range servers {
			if !s.IsValid() || seen[s] {
				t.Fatalf("%q: %v", text, servers)
			}
			seen[s] = true
		}
		if len(servers) > MaxServers {
			t.Fatalf("%d servers", len(servers))
		}
	})
}
