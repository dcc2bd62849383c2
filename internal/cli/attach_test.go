package cli

import (
	"fmt"
	"testing"
)

func TestNamespacePath(t *testing.T) {
	for term, want := range map[string]string{"17": "/proc/17/ns/net", "blue": "/run/netns/blue", "/run/x": "/run/x", "0": "/run/netns/0", "99999999999": "/run/netns/99999999999"} {
		if got, err := namespacePath(term); err != nil || got != want {
			t.Errorf("%s: %s, %v", term, got, err)
		}
	}
}

func TestParsePort(t *testing.T) {
	for text, want := range map[string]string{
		"80": "{ 0 80 }", "8080:80": "{ 8080 80 }", "127.0.0.1:8080:80/udp": "{127.0.0.1 8080 80 udp}", "[::1]:8080:80": "{::1 8080 80 }", "127.0.0.1::80": "{127.0.0.1 0 80 }",
	} {
		p, err := parsePort(text)
		if got := fmt.Sprint(p.Host); err != nil || fmt.Sprintf("{%s %d %d %s}", got, p.HostPort, p.ContainerPort, p.Protocol) != want {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "0", "x", "80:", "x:80", "70000:80", "70000"} {
		if p, err := parsePort(text); err == nil {
			t.Errorf("%q: %+v", text, p)
		}
	}
}
