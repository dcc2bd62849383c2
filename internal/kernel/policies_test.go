package kernel

import (
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/part"
)

// TestWhatOpensIsClosedFirst ranges over all policies: of each it is said whether it lets
// something in from outside its network, and such a one goes before anything else does.
func TestWhatOpensIsClosedFirst(t *testing.T) {
	opens := map[string]bool{
		"desired.Allow": true, "desired.Publish": true,
		"desired.Direct": true, "desired.DirectFrom": true, "desired.DirectICMP": true,
		"desired.AcceptMark": true,
		// They close, translate, or name.
		"desired.BridgePolicy": false, "desired.Masquerade": false, "desired.ForwardDrop": false,
		"desired.PortSecurity": false, "desired.Identity": false,
		// What lets a container send, or its port be served by the host itself, may go last:
		// the container and the server of the port go before.
		"desired.Elsewhere": false, "desired.Served": false,
		// It is for connections that the host itself has begun.
		"desired.Transparent": false,
	}
	for _, row := range desired.Types() {
		if row.Key().Kind != desired.KindPolicy {
			continue
		}
		name := fmt.Sprintf("%T", row)
		want, known := opens[name]
		if !known {
			t.Errorf("%s: does it let something in? Say so here and, if it does, in part.Closings", name)
			continue
		}
		first, _ := part.Closings([]desired.Delta{{Old: row}}, nil)
		if got := len(first) == 1; got != want {
			t.Errorf("%s goes first: %t, want %t", name, got, want)
		}
	}
}
