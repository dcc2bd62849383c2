package nft

import (
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest/published"
)

// TestPortsDrift: what somebody removes is noticed, named and put back.
func TestPortsDrift(t *testing.T) {
	s := published.NewHost(t, backend, false, published.Ports()...)
	want := append(published.Rows(), published.Ports()...)
	s.Host.NFT("delete element inet linkspan ports4_any { tcp . 8080 }; delete element inet linkspan open_any_ranges { ipv4 . tcp . 78-82 }")
	r, err := s.Firewall.Check(t.Context(), want)
	if err != nil || len(r.Drift) != 2 || !strings.Contains(strings.Join(r.Drift, "\n"), "tcp . 8080 : 10.1.0.11 . 80: missing") {
		t.Errorf("check: %q, %v", r.Drift, err)
	}
	if r := resync(t, s.Firewall, want...); r.Writes != 2 {
		t.Errorf("repair: %+v", r)
	}
	if r := resync(t, s.Firewall, want...); r.Writes != 0 {
		t.Errorf("second repair: %+v", r)
	}
	if s.Out.Ask("192.0.2.1:8080", enough) == "" || s.Out.Ask("192.0.2.1:80", enough) == "" {
		t.Error("no answer after the repair")
	}
}
