package hostfilter

import (
	"strings"
	"testing"
)

func TestKeepUserRules(t *testing.T) {
	everyKind(t, func(t *testing.T, b *bench, suffix, path string) {
		b.resync(true, policies("br-0"))
		b.sh("iptables" + suffix + ` -A DOCKER-USER -i eth0 -j LOG --log-prefix "a b" && iptables` + suffix + ` -A DOCKER-USER -i eth0 -j DROP`)
		rules := func() string { return b.sh("iptables" + suffix + " -S DOCKER-USER") }
		before := rules()
		dir := b.host.Namespaces(t)
		o := Options{IPv4: true, IPv6: true, Path: []string{path}, Enter: func(f func() error) error { return dir.Do(t.Context(), "", f) }}
		keep := func() func() {
			restore, err := KeepUserRules(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			return func() {
				t.Helper()
				if err := restore(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}

		restore := keep()
		restore() // nobody has flushed them
		if after := rules(); after != before {
			t.Errorf("%q became %q", before, after)
		}
		b.sh("iptables" + suffix + " -F && iptables" + suffix + " -X")
		restore()
		if after := rules(); after != before {
			t.Errorf("%q came back as %q", before, after)
		}
		b.resync(true, policies("br-0"))
		restore = keep()
		b.sh("iptables" + suffix + " -F DOCKER-USER && iptables" + suffix + " -A DOCKER-USER -j RETURN")
		restore() // somebody was faster
		if after := rules(); strings.Count(after, "-A ") != 1 {
			t.Errorf("it became %q", after)
		}
	})
	none := tryOn(t)
	if restore, err := KeepUserRules(t.Context(), Options{IPv4: true, IPv6: true, Path: []string{}}); err != nil || restore(t.Context()) != nil {
		t.Error("without iptables:", err)
	}
	if out := none.sh("nft list ruleset"); out != "" {
		t.Error(out)
	}
}
