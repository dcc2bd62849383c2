package driver

import (
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

func TestPortSecurityOf(t *testing.T) {
	option := func(value string) map[string]string { return map[string]string{OptionPortSecurity: value} }
	for _, c := range []struct {
		network, endpoint map[string]string
		want              PortSecurity
	}{
		{nil, nil, SecurityCapability},
		{option("strict"), nil, SecurityStrict},
		{option("off"), map[string]string{"other": "x"}, SecurityOff},
		{option("strict"), option("off"), SecurityOff},
		{option("off"), option("capability"), SecurityCapability},
	} {
		if got, err := PortSecurityOf(c.network, c.endpoint); got != c.want || err != nil {
			t.Errorf("%v, %v: %s, %v", c.network, c.endpoint, got, err)
		}
	}
	for _, bad := range []string{"", "STRICT", "on", strings.Repeat("x", 1000)} {
		_, err := PortSecurityOf(option(bad), nil)
		if model.KindOf(err) != model.Invalid || !strings.Contains(err.Error(), "strict, capability or off") || len(err.Error()) > 300 {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// TestWayOut: everybody is told something that helps.
func TestWayOut(t *testing.T) {
	for _, k := range facts.DropKinds {
		if text := Explain(k); text == string(k) {
			t.Errorf("%s is not explained", k)
		}
		for _, p := range []PortSecurity{SecurityStrict, SecurityCapability} {
			for _, able := range []bool{false, true} {
				text := WayOut(k, p, able)
				if text == "" || able && strings.Contains(text, "cap-add") {
					t.Errorf("%s %s %t: %q", k, p, able, text)
				}
			}
		}
	}
}
