package nft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/balance"
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
	"github.com/linkspan/linkspan/internal/model"
)

// balanceTableName names the table of Options.Balance. It is in namespaces of networks that
// have services, and nowhere else.
const balanceTableName = "linkspan-balance"

// A frontend is an address ("vip"), or a port of one ("port"). Its buckets are elements
// of a map that leads to backends; of which of the two sizes follows from how many backends there are.
//
//	prerouting   counts on to the next bucket, or hashes the source of who is to come to the same again, and translates
//	             the destination
//	forward      what was not translated has no backend, and is refused
//	postrouting  a container that was led to itself finds the frontend behind it
//
// The chains of type nat see the first packet of each connection alone; conntrack has the
// others go where that went, whatever becomes of the maps.
const (
	setVIPs4  = "vips4"
	setVIPs6  = "vips6"
	setFront4 = "fronts4"
	setFront6 = "fronts6"

	setSticky4 = "sticky4"
	setSticky6 = "sticky6"

	setFewVIPs4   = "few_vips4"
	setFewVIPs6   = "few_vips6"
	setManyVIPs4  = "many_vips4"
	setManyVIPs6  = "many_vips6"
	setFewPorts4  = "few_ports4"
	setFewPorts6  = "few_ports6"
	setManyPorts4 = "many_ports4"
	setManyPorts6 = "many_ports6"

	setHairpin4 = "hairpins4"
	setHairpin6 = "hairpins6"
)

// stickySeed is the same on all hosts, which are to hash alike. The kernel draws one if it is 0.
const stickySeed = 0x6c6e6b73

// balanceTable is all of Options.Balance.
func balanceTable(mark string) table {
	const priorityNATDest, priorityFilter, priorityNATSource = -100, 0, 100
	return table{
		family: unix.NFPROTO_INET, name: balanceTableName, comment: mark, sets: append(balanceSets(), ingressSets()...),
		chains: append(ingressChains(), []chain{
			{"prerouting", base{"nat", unix.NF_INET_PRE_ROUTING, priorityNATDest}, balanceRules()},
			{"forward", base{"filter", unix.NF_INET_FORWARD, priorityFilter}, refuseRules()},
			{"postrouting", base{"nat", unix.NF_INET_POST_ROUTING, priorityNATSource}, append([]rule{
				asFrontend(unix.NFPROTO_IPV4, ctDestination4, setHairpin4, part{field.IP4Source, 1}, ip4Part()),
				asFrontend(unix.NFPROTO_IPV6, ctDestination6, setHairpin6, part{field.IP6Source, 4}, ip6Part()),
			}, gateRules()...)},
		}...),
	}
}

func balanceSets() (out []set) {
	const vips, fronts, sticky, few, many = "addresses of services", "ports of services", "those that lead a client to the same backend again",
		"where buckets lead, of services with few backends", "where buckets lead, of services with many backends"
	for _, f := range []struct {
		addr                                                                datatype
		vips, fronts, sticky, fewVIPs, manyVIPs, fewPorts, manyPorts, pairs string
	}{
		{typeIPv4, setVIPs4, setFront4, setSticky4, setFewVIPs4, setManyVIPs4, setFewPorts4, setManyPorts4, setHairpin4},
		{typeIPv6, setVIPs6, setFront6, setSticky6, setFewVIPs6, setManyVIPs6, setFewPorts6, setManyPorts6, setHairpin6},
	} {
		vip, port := []datatype{f.addr}, []datatype{typeTransport, f.addr, typePort}
		vipBucket, portBucket := []datatype{f.addr, datatypes.Mark}, []datatype{typeTransport, f.addr, typePort, datatypes.Mark}
		to, toPort := []datatype{f.addr}, []datatype{f.addr, typePort}
		out = append(out,
			set{name: f.vips, comment: vips, key: vip},
			set{name: f.fronts, comment: fronts, key: port},
			set{name: f.sticky, comment: sticky, key: port},
			set{name: f.fewVIPs, comment: few, key: vipBucket, data: to},
			set{name: f.manyVIPs, comment: many, key: vipBucket, data: to},
			set{name: f.fewPorts, comment: few, key: portBucket, data: toPort},
			set{name: f.manyPorts, comment: many, key: portBucket, data: toPort},
			set{name: f.pairs, comment: "containers that may reach themselves by a service", key: []datatype{f.addr, f.addr}})
	}
	return out
}

// balanceRules ask first whether the destination is a frontend, so that no other connection
// moves the count on.
func balanceRules() []rule {
	port4, port6 := []part{transportPart(), ip4Part(), portPart()}, []part{transportPart(), ip6Part(), portPart()}
	return []rule{
		stick(unix.NFPROTO_IPV4, setSticky4, balance.Few, natTo{setFewPorts4, true, port4}),
		stick(unix.NFPROTO_IPV4, setSticky4, balance.Many, natTo{setManyPorts4, true, port4}),
		stick(unix.NFPROTO_IPV6, setSticky6, balance.Few, natTo{setFewPorts6, true, port6}),
		stick(unix.NFPROTO_IPV6, setSticky6, balance.Many, natTo{setManyPorts6, true, port6}),
		share(unix.NFPROTO_IPV4, setFront4, balance.Few, natTo{setFewPorts4, true, port4}),
		share(unix.NFPROTO_IPV4, setFront4, balance.Many, natTo{setManyPorts4, true, port4}),
		share(unix.NFPROTO_IPV6, setFront6, balance.Few, natTo{setFewPorts6, true, port6}),
		share(unix.NFPROTO_IPV6, setFront6, balance.Many, natTo{setManyPorts6, true, port6}),
		share(unix.NFPROTO_IPV4, setVIPs4, balance.Few, natTo{setFewVIPs4, false, []part{ip4Part()}}),
		share(unix.NFPROTO_IPV4, setVIPs4, balance.Many, natTo{setManyVIPs4, false, []part{ip4Part()}}),
		share(unix.NFPROTO_IPV6, setVIPs6, balance.Few, natTo{setFewVIPs6, false, []part{ip6Part()}}),
		share(unix.NFPROTO_IPV6, setVIPs6, balance.Many, natTo{setManyVIPs6, false, []part{ip6Part()}}),
	}
}

// share sends a connection to a frontend, which is an element of the set fronts, to where
// its next bucket leads.
func share(nfproto byte, fronts string, buckets uint32, to natTo) rule {
	return toBackend("to a backend", nfproto, fronts, to,
		&expr.Numgen{Register: register(words(to.parts)), Modulus: buckets, Type: unix.NFT_NG_INCREMENTAL})
}

// stick sends a connection to a frontend in the set sticky to where the bucket of its source leads.
func stick(nfproto byte, sticky string, buckets uint32, to natTo) rule {
	source, bytes, at := field.Load(field.IP4Source), uint32(4), register(words(to.parts))
	if nfproto == unix.NFPROTO_IPV6 {
		source, bytes = field.IP6Source, 16
	}
	return toBackend("to the backend of its source", nfproto, sticky, to, source(at),
		&expr.Hash{SourceRegister: at, DestRegister: at, Length: bytes, Modulus: buckets, Seed: stickySeed, Type: expr.HashTypeJenkins})
}

// toBackend translates what is for an element of fronts, by what bucket loads behind the parts of to.
func toBackend(why string, nfproto byte, fronts string, to natTo, bucket ...expr.Any) rule {
	r := dnatTo(why, nfproto, to.port, to.lookUp(bucket...))
	r.exprs = slices.Concat(is(field.Family, nfproto), inJoined(fronts, to.parts...), r.exprs)
	return r
}

// refuseRules are for packets to frontends that nothing translated. Of what conntrack can
// make nothing of (segments out of a window, most often) there would be an answer that ends
// a connection that goes on; untranslated, it means nothing to whom it is for.
func refuseRules() []rule {
	reset := &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	unreachable := &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}
	out := []rule{drop("of no connection: nothing would translate it", stray())}
	for _, to := range []match{
		append(is(field.Family, unix.NFPROTO_IPV4), inJoined(setVIPs4, ip4Part())...),
		append(is(field.Family, unix.NFPROTO_IPV6), inJoined(setVIPs6, ip6Part())...),
		append(is(field.Family, unix.NFPROTO_IPV4), inJoined(setFront4, transportPart(), ip4Part(), portPart())...),
		append(is(field.Family, unix.NFPROTO_IPV6), inJoined(setFront6, transportPart(), ip6Part(), portPart())...),
	} {
		out = append(out,
			decide("a service without a backend", reset, []match{is(field.Protocol, unix.IPPROTO_TCP), to}),
			decide("a service without a backend", unreachable, []match{to}))
	}
	return out
}

// asFrontend gives a packet that goes back to where it came from the source that it was
// sent to.
func asFrontend(nfproto byte, original expr.CtKey, pairs string, source, destination part) rule {
	first := register(0)
	return decide("to itself, by a service",
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(nfproto), RegAddrMin: first, RegAddrMax: first},
		[]match{is(field.Family, nfproto), inJoined(pairs, source, destination), translated(), {ctOriginal(original)(first)}})
}

func renderBalance(r desired.Balance) ([]element, error) {
	to := r.To.Addr.Unmap()
	number := r.To.Protocol.Number()
	if !to.IsValid() || (r.To.Protocol == "") != (r.To.Port == 0) || r.To.Protocol != "" && number == 0 {
		return nil, model.Errorf(model.Invalid, "balance: %s is no place to connect to", r.To)
	}
	key, fronts := addrKey(to), pick(to, setVIPs4, setVIPs6)
	few, many := pick(to, setFewVIPs4, setFewVIPs6), pick(to, setManyVIPs4, setManyVIPs6)
	if number != 0 {
		key, fronts = destinationKey(number, to, r.To.Port), pick(to, setFront4, setFront6)
		few, many = pick(to, setFewPorts4, setFewPorts6), pick(to, setManyPorts4, setManyPorts6)
	}
	var names []string
	for _, b := range r.Backends {
		if b.Addr().BitLen() != to.BitLen() || (b.Port() == 0) != (number == 0) {
			return nil, model.Errorf(model.Invalid, "balance: from %s to %s", r.To, b)
		}
		names = append(names, b.String())
	}
	size, buckets := balance.Size(len(names)), few
	if size == balance.Many {
		buckets = many
	}
	out := []element{{set: fronts, key: key}}
	if r.Sticky && number == 0 {
		return nil, model.Errorf(model.Invalid, "balance: %s has no port that could lead to the same backend again", r.To)
	} else if r.Sticky {
		out = append(out, element{set: pick(to, setSticky4, setSticky6), key: key})
	}
	for bucket, i := range balance.Buckets(r.Salt, names, size) {
		out = append(out, element{set: buckets, key: key + string(native32(uint32(bucket))), data: backendKey(r.Backends[i])})
	}
	return out, nil
}

func backendKey(b netip.AddrPort) string {
	if b.Port() == 0 {
		return addrKey(b.Addr())
	}
	return addrKey(b.Addr()) + portWord(b.Port())
}

func renderHairpin(r desired.Hairpin) ([]element, error) {
	a := r.Addr.Unmap()
	if !a.IsValid() {
		return nil, model.Errorf(model.Invalid, "balance: no address to reach itself by")
	}
	return []element{{set: pick(a, setHairpin4, setHairpin6), key: addrKey(a) + addrKey(a)}}, nil
}

// Balancer makes the rows of desired.KindBalance so, in a namespace at a time: by a table of
// its own, which is made with the first row and ends with the namespace. Instance marks the
// tables as this engine's.
type Balancer struct {
	Instance string
	Logger   *slog.Logger
}

// in calls f with the table of the namespace of a descriptor, and whether it is there.
func (o Balancer) in(ctx context.Context, netns int, f func(b *Backend, there bool) error) error {
	b, err := New(Options{Instance: o.Instance, Logger: o.Logger, NetNS: netns, Balance: true})
	if err != nil {
		return err
	}
	seen, err := b.conn.readFrame(ctx, b.tables[0])
	if err == nil {
		err = f(b, seen != nil)
	}
	return errors.Join(err, b.Close())
}

// Apply is that of a Backend. A table that had rows and is gone is ErrTableLost.
func (o Balancer) Apply(ctx context.Context, netns int, deltas []desired.Delta) error {
	return o.in(ctx, netns, func(b *Backend, there bool) error {
		had := slices.ContainsFunc(deltas, func(d desired.Delta) bool { return d.Old != nil })
		err := b.Apply(ctx, deltas)
		if err == nil && had && !there {
			err = fmt.Errorf("balance: %w", ErrTableLost)
		}
		return err
	})
}

// Resync is that of a Backend.
func (o Balancer) Resync(ctx context.Context, netns int, rows []desired.Row) (report desired.Report, err error) {
	err = o.in(ctx, netns, func(b *Backend, there bool) (err error) {
		if there || len(rows) > 0 {
			report, err = b.Resync(ctx, rows)
		}
		return err
	})
	return report, err
}

// Check is that of a Backend.
func (o Balancer) Check(ctx context.Context, netns int, rows []desired.Row) (report desired.Report, err error) {
	err = o.in(ctx, netns, func(b *Backend, there bool) (err error) {
		if there || len(rows) > 0 {
			report, err = b.Check(ctx, rows)
		}
		return err
	})
	return report, err
}
