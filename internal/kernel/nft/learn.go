package nft

import (
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

// The host takes note of who is on a link with it, and its memory is small: 1024
// neighbours of a family, for all namespaces together (kernel: ip-sysctl,
// gc_thresh3). A port that may use addresses of its own choice could fill it, so
// it shows new ones to the host at a pace that the kernel's clean-up keeps up with:
// beyond gc_thresh2 that takes what is older than five seconds. An address that the
// host has heard of is not held back; nor is what goes by the bridge to others.
const (
	setHeard4   = "heard4"
	setHeard6   = "heard6"
	setPace     = "pace"
	setHeardMAC = "heard_mac"
	setPaceMAC  = "pace_mac"

	chainHear  = "hear"
	chainHear4 = "hear4"
	chainHear6 = "hear6"
	chainHearA = "hear_arp"
	chainMAC   = "chosen_mac"

	newASecond, newAtOnce       = 8, 32   // of one port
	allNewASecond, allNewAtOnce = 64, 256 // of all together

	heardFor, pacedFor = time.Minute, time.Minute
	agingTime          = 5 * time.Minute // of a bridge (IEEE 802.1D, table 7-5)
)

func learnSets() []set {
	return []set{
		{name: setHeard4, comment: "addresses that the host was shown, by port", key: []datatype{typeIfname, typeIPv4}, learned: true, timeout: true},
		{name: setHeard6, comment: "addresses that the host was shown, by port", key: []datatype{typeIfname, typeIPv6}, learned: true, timeout: true},
		{name: setPace, comment: "new addresses, by port", key: []datatype{typeIfname}, learned: true, timeout: true},
		{name: setHeardMAC, comment: "MAC addresses that the bridge was shown, by port", key: []datatype{typeIfname, typeEther}, learned: true, timeout: true},
		{name: setPaceMAC, comment: "new MAC addresses, by port", key: []datatype{typeIfname}, learned: true, timeout: true},
	}
}

// learnChains judge frames on their way from a port of ours to the host's stack.
func learnChains(priority int32) []chain {
	return []chain{
		{chainHearA, base{}, hearRules(setHeard4, setPinIP4, setNear4, part{field.ARPSenderIP, 1})},
		{chainHear4, base{}, hearRules(setHeard4, setPinIP4, setNear4, part{field.IP4Source, 1})},
		{chainHear6, base{}, hearRules(setHeard6, setPinIP6, setNear6, part{field.IP6Source, 4})},
		{chainHear, base{"filter", unix.NF_INET_LOCAL_IN, priority}, []rule{
			accept("not from a port of ours", isNot(field.IIFGroup, native32(desired.PortGroup)...)),
			drop("router advertisement: the host takes none", icmp6(routerAdvertisement)),
			drop("redirect: the host takes none", icmp6(icmp6Redirect)),
			jump("ARP", chainHearA, isARP()),
			jump("IPv4", chainHear4, isIPv4()),
			jump("IPv6", chainHear6, isIPv6()),
		}},
	}
}

// hearRules let through what is not on the link, since the host has no neighbour
// for it; what the engine itself gave; what was heard before; and of what is new as
// much as the pace allows.
func hearRules(heard, own, near string, address part) []rule {
	both := []part{iifPart(), address}
	again := append(inJoined(heard, both...), learned(heard, uint64(heardFor.Milliseconds()), both)...)
	overall := match{&expr.Limit{
		Type: expr.LimitTypePkts, Rate: allNewASecond, Unit: expr.LimitTimeSecond, Burst: allNewAtOnce, Over: true,
	}}
	return []rule{
		accept("an address of its own", in(own, field.IIFName, address.load)),
		accept("an address of a pinned port, or from elsewhere", notInJoined(near, both...)),
		accept("an address that was heard before", again),
		refuse(facts.DropFlood, "new addresses faster than the host can take note of them", overPace(setPace)),
		refuse(facts.DropFlood, "the same, of all ports together", overall),
		learn("a new address", heard, uint64(heardFor.Milliseconds()), both),
	}
}

// overPace matches frames of a port beyond the pace.
func overPace(set string) match {
	return learned(set, uint64(pacedFor.Milliseconds()), []part{iifPart()}, &expr.Limit{
		Type: expr.LimitTypePkts, Rate: newASecond, Unit: expr.LimitTimeSecond, Burst: newAtOnce, Over: true,
	})
}

// newMAC is a rule for ports that may choose their MAC address. The bridge remembers
// each for its ageing time, and its memory has no bound.
func newMAC() rule {
	return jump("a MAC address that the bridge does not know", chainMAC,
		notIn(setPinMAC, field.IIFName, field.EtherSource), notIn(setHeardMAC, field.IIFName, field.EtherSource))
}

func newMACRules() []rule {
	const etherWords = 2
	return []rule{
		refuse(facts.DropFlood, "new MAC addresses faster than the bridge can forget them", overPace(setPaceMAC)),
		learn("a new MAC address", setHeardMAC, uint64(agingTime.Milliseconds()), []part{iifPart(), {field.EtherSource, etherWords}}),
	}
}
