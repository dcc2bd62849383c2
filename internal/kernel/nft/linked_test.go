package nft

import (
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

func TestLinksThatCannotBe(t *testing.T) {
	good := desired.Allow{
		Bridge: "br-q", From: netip.MustParseAddr("10.4.0.12"), To: netip.MustParseAddr("10.4.0.11"),
		Protocol: model.TCP, First: 1, Last: 65535,
	}
	if elements, err := render(good); err != nil || len(elements) != 2 {
		t.Fatalf("%v: %v, %v", good, elements, err)
	}
	for what, change := range map[string]func(*desired.Allow){
		"protocol":    func(r *desired.Allow) { r.Protocol = "gre" },
		"no port":     func(r *desired.Allow) { r.First = 0 },
		"backwards":   func(r *desired.Allow) { r.First, r.Last = 2, 1 },
		"no source":   func(r *desired.Allow) { r.From = netip.Addr{} },
		"families":    func(r *desired.Allow) { r.To = netip.MustParseAddr("fd04::11") },
		"unspecified": func(r *desired.Allow) { r.To = netip.IPv4Unspecified() },
	} {
		row := good
		change(&row)
		if elements, err := render(row); model.KindOf(err) != model.Invalid {
			t.Errorf("%s: %v, %v", what, elements, err)
		}
	}
}
