package iptables

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// dockerd is what one of another release leaves: chains that we have as well, chains that
// we do not, and rules without a mark.
const dockerd = `iptables -N DOCKER; iptables -N DOCKER-USER; iptables -N DOCKER-ISOLATION-STAGE-1; iptables -N DOCKER-ISOLATION-STAGE-2
iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1
iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A FORWARD -o docker0 -j DOCKER
iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT; iptables -A FORWARD -i docker0 -o docker0 -j ACCEPT
iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2; iptables -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
iptables -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
iptables -t nat -N DOCKER; iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE; iptables -t nat -A POSTROUTING -s 10.50.0.0/24 ! -o br-0123456789ab -j MASQUERADE
iptables -t nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp --dport 80 -j MASQUERADE
iptables -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
iptables -t raw -A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
iptables -t raw -A PREROUTING -d 127.0.0.1/32 ! -i lo -p tcp --dport 8080 -j DROP`

// administrators are rules that look a little like it.
const administrators = `iptables -A DOCKER-USER -s 10.0.0.0/8 -j DROP; iptables -A FORWARD -i wg0 -j ACCEPT; iptables -N DOCKER-MINE
iptables -A INPUT -j DOCKER-MINE; iptables -t nat -A POSTROUTING -s 10.60.0.0/24 ! -o wg0 -j MASQUERADE; iptables -P FORWARD DROP
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -m comment --comment mine -j MASQUERADE
iptables -t raw -A PREROUTING -d 172.17.0.2/32 ! -i eth0 -j DROP; ip6tables -A FORWARD -i wg0 -j DROP`

func (n *namespace) remains() (Remains, *strings.Builder) {
	var said strings.Builder
	return Remains{Logger: slog.New(slog.NewTextHandler(&said, nil)), Enter: n.enter}, &said
}

// TestCleanLeavesWhatIsOthers: after a backend that wrote iptables, or a dockerd, another
// one finds DOCKER-USER and what administrators have written, and nothing else.
func TestCleanLeavesWhatIsOthers(t *testing.T) {
	for name, before := range map[string]func(*namespace){
		"ours":    func(n *namespace) { resync(t, n.open(Options{}), sampleRows()...) },
		"dockerd": func(n *namespace) { n.iptables(strings.ReplaceAll(dockerd, "\n", "; ")) },
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, n *namespace) {
				n.t = t
				before(n)
				n.iptables(strings.ReplaceAll(administrators, "\n", "; "))
				m, said := n.remains()
				if err := m.Clean(t.Context()); err != nil || !strings.Contains(said.String(), "had left") {
					t.Fatalf("%v: %s", err, said)
				}
				rules := n.saved()
				for _, line := range strings.Split(rules, "\n") {
					if strings.HasPrefix(line, ":DOCKER") && !strings.Contains(line, "USER") && !strings.Contains(line, "MINE") || strings.Contains(line, "LINKSPAN") {
						t.Errorf("left: %s", line)
					}
				}
				for want, count := range map[string]int{
					"-A DOCKER-USER -s 10.0.0.0/8 -j DROP": 1, "-A FORWARD -i wg0 -j ACCEPT": 1, "-j DOCKER-MINE": 1, "-s 10.60.0.0/24": 1,
					"--comment mine": 1, "! -i eth0 -j DROP": 1, ":FORWARD DROP": 1, "-A FORWARD -j DOCKER-USER": 1, "-A FORWARD -i wg0 -j DROP": 1,
					"docker0": 1, "br-0123456789ab": 0, "-A ": 8,
				} {
					if name == "ours" && want == "-A FORWARD -j DOCKER-USER" {
						continue // of both families
					}
					if got := strings.Count(rules, want); got != count && (want != "-A " || name != "ours") {
						t.Errorf("%q occurs %d times, want %d:\n%s", want, got, count, rules)
					}
				}
				said.Reset()
				if err := m.Clean(t.Context()); err != nil || said.Len() > 0 {
					t.Errorf("again: %v: %s", err, said)
				}
			})
		})
	}
}

// TestDockersRulesAreTakenOver: where iptables goes on, what a dockerd left becomes ours.
func TestDockersRulesAreTakenOver(t *testing.T) {
	inBoth(t, func(t *testing.T, n *namespace) {
		n.iptables(strings.ReplaceAll(dockerd, "\n", "; "))
		n.iptables(strings.ReplaceAll(administrators, "\n", "; "))
		b := n.open(Options{})
		resync(t, b, sampleRows()...)
		m, said := n.remains()
		if err := m.Neutralise(t.Context(), n.variant); err != nil || !strings.Contains(said.String(), "removed rules that were left") {
			t.Fatalf("%v: %s", err, said)
		}
		if r := resync(t, b, sampleRows()...); r.Writes != 0 {
			t.Errorf("afterwards: %+v", r)
		}
		rules := n.saved()
		for _, gone := range []string{"ISOLATION", "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "br-0123456789ab", "-d 172.17.0.2/32 ! -i docker0 -j DROP", "-A FORWARD -i docker0", "-A FORWARD -o docker0"} {
			if strings.Contains(rules, gone) {
				t.Errorf("%q is still there:\n%s", gone, rules)
			}
		}
		// Seen from the other variant they are where nobody looks after them.
		said.Reset()
		if err := m.Neutralise(t.Context(), n.variant.Other()); err != nil || !strings.Contains(said.String(), "are left in the other variant") {
			t.Errorf("%v: %s", err, said)
		}
	})
}

// TestFamilyOff: what was written for a family goes when no rule of it is wanted.
func TestFamilyOff(t *testing.T) {
	inBoth(t, func(t *testing.T, n *namespace) {
		resync(t, n.open(Options{}), sampleRows()...)
		b := n.open(Options{Off6: true})
		if r := resync(t, b, sampleRows()...); r.Writes != 0 {
			t.Errorf("of the other family: %+v", r)
		}
		m, _ := n.remains()
		m.Off6 = true
		if err := m.Neutralise(t.Context(), n.variant); err != nil {
			t.Fatal(err)
		}
		if rules := n.saved(); strings.Contains(rules, "fd00:1::2") || !strings.Contains(rules, "172.17.0.2") {
			t.Errorf("%s", rules)
		}
		if err := b.Apply(t.Context(), added(desired.BridgePolicy{Bridge: "br-later"})); err != nil {
			t.Error(err)
		}
	})
}

// TestIsDockers: the forms of dockerd's rules, and what only looks like them.
func TestIsDockers(t *testing.T) {
	for line, want := range map[string]bool{
		"nat POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE":                             true,
		"nat POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j SNAT --to-source 192.0.2.1":             true,
		"nat POSTROUTING -s 172.17.0.0/16 ! -o docker01 -j MASQUERADE":                            false,
		"nat POSTROUTING -s 172.17.0.0/16 ! -o br-lan -j MASQUERADE":                              false,
		"nat POSTROUTING -s 172.17.0.0/16 -o docker0 -j MASQUERADE":                               false,
		"nat POSTROUTING ! -o docker0 -j MASQUERADE":                                              false,
		"nat POSTROUTING -s 10.0.0.5/32 -d 10.0.0.5/32 -p tcp -m tcp --dport 80 -j MASQUERADE":    true,
		"nat POSTROUTING -s 10.0.0.0/24 -d 10.0.0.0/24 -p tcp -m tcp --dport 80 -j MASQUERADE":    false,
		"nat PREROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE":                              false,
		"raw PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP":                                    true,
		"raw PREROUTING -d 127.0.0.1/32 ! -i lo -p tcp -m tcp --dport 80 -j DROP":                 true,
		"raw PREROUTING -d 127.0.0.0/8 ! -i lo -j DROP":                                           false,
		"filter FORWARD -i docker0 -j DROP":                                                       false,
		"filter FORWARD -i docker0 -j ACCEPT":                                                     false,
		"filter FORWARD -i eth0 -o docker0 -j ACCEPT":                                             false,
		"filter FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT":          true,
		"filter FORWARD -o docker0 -p tcp -m conntrack --ctstate NEW -m tcp --dport 80 -j ACCEPT": false,
	} {
		words := strings.SplitN(line, " ", 3)
		r, err := ruleset.ParseRule(words[2])
		if err != nil {
			t.Fatal(err)
		}
		if got := isDockers(words[0], words[1], r); got != want {
			t.Errorf("%s: %t", line, got)
		}
	}
}

// TestDockersTables: those of its nftables backend go, and nobody else's.
func TestDockersTables(t *testing.T) {
	n := newNamespace(t, xtables.NFT)
	n.run("nft add table ip docker-bridges; nft add chain ip docker-bridges filter-FORWARD '{ type filter hook forward priority 0; policy drop; }'; " +
		"nft add table ip6 docker-bridges; nft add table inet docker-bridges; nft add table ip mine")
	fd := int(n.file.Fd())
	if removed, err := RemoveDockersTables(fd); err != nil || strings.Join(removed, ", ") != "ip docker-bridges, ip6 docker-bridges" {
		t.Errorf("%v, %v", removed, err)
	}
	if left := n.run("nft list tables"); left != "table inet docker-bridges\ntable ip mine\n" {
		t.Errorf("left: %s", left)
	}
	if removed, err := RemoveDockersTables(fd); err != nil || len(removed) > 0 {
		t.Errorf("again: %v, %v", removed, err)
	}
}
