package ops

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
)

// newEndpoint checks a membership against its network and returns the endpoint,
// down, holding the addresses that the user asked for.
func newEndpoint(sb model.Sandbox, n model.Network, spec EndpointSpec) (model.Endpoint, error) {
	if n.ConfigOnly {
		return model.Endpoint{}, model.Errorf(model.Forbidden, "cannot create endpoint on configuration-only network")
	}
	if err := checkEndpoint(n, spec); err != nil {
		return model.Endpoint{}, err
	}
	e := model.Endpoint{
		ID: spec.ID, Network: n.ID, Sandbox: sb.ID,
		MAC: spec.MAC, StaticMAC: spec.MAC != "",
		LinkLocal: spec.LinkLocal, Aliases: spec.Aliases, Links: spec.Links,
		Priority: spec.Priority, DriverOpts: spec.DriverOpts, Service: spec.Service,
	}
	if spec.IPv4.IsValid() {
		e = e.WithAddress(model.IPv4, spec.IPv4, true)
	}
	if spec.IPv6.IsValid() {
		e = e.WithAddress(model.IPv6, spec.IPv6, true)
	}
	return given(e, spec.Given), nil
}

// enrol records a container's membership of a network, down, as the last of
// its own.
func enrol(tx Tx, sb model.Sandbox, n model.Network, spec EndpointSpec) error {
	e, err := newEndpoint(sb, n, spec)
	if err != nil {
		return withPrefix("invalid config for network "+n.Name+": ", err)
	}
	if _, twice := tx.View().EndpointAt(sb.ID, n.ID); twice {
		return alreadyThere(sb, n)
	}
	e.Order = nextOrder(tx, sb.ID)
	tx.PutEndpoint(e)
	return nil
}

// attach brings an endpoint up: it gets an interface name, a MAC address and an
// address of each family that its network carries.
func attach(tx Tx, e model.Endpoint) error {
	n, ok := tx.View().Network(e.Network)
	if !ok {
		return model.Errorf(model.NotFound, "network %s not found", model.Short(e.Network))
	}
	sb, _ := tx.View().Sandbox(e.Sandbox)
	e.Up, e.DownSince, e.Yielded = true, 0, false
	if !tx.Drivers.Traits(n).Interface {
		tx.PutEndpoint(e)
		return nil
	}
	if foreign(tx, n) {
		return attachOutside(tx, n, sb, e)
	}
	var err error
	for _, f := range model.Families {
		if !n.Enabled(f) || f == model.IPv6 && driver.IPv6Off(sb, e) {
			e = e.WithAddress(f, netip.Addr{}, false)
			continue
		}
		if n.Leased() {
			continue
		}
		if e, err = address(tx, n, e, f); err != nil {
			return err
		}
	}
	if e.MAC, err = hardwareAddress(tx, n, e); err != nil {
		return err
	}
	if e, err = leased(tx, n, sb, e); err != nil {
		return err
	}
	if e.Interface, err = interfaceName(tx, n, e); err != nil {
		return err
	}
	tx.PutEndpoint(e)
	return nil
}

// hardwareAddress returns the MAC address of an endpoint: the one asked for, which
// nobody else on the network may have while it is up, nor its bridge, since frames
// for both would come to one of them; or one computed from its network and its
// address there. So whoever gets an address next has the MAC address that the
// neighbours still know for it (RFC 826): they need not find out by themselves,
// which takes them several seconds.
func hardwareAddress(tx Tx, n model.Network, e model.Endpoint) (string, error) {
	if !tx.Drivers.OwnMAC(n) {
		if e.StaticMAC {
			return "", model.Errorf(model.Unfit, "%s interfaces do not support custom mac address assignment", n.Driver)
		}
		return "", nil
	}
	if e.StaticMAC {
		if holder, held := holderOfMAC(tx, n, e, e.MAC); held {
			return "", &model.Error{Op: "endpoint.attach", Subject: "network " + n.Name, Kind: model.Conflict,
				Err: fmt.Errorf("MAC address %s is already in use", e.MAC), Who: fmt.Sprintf("%s is held by %s", e.MAC, holder)}
		}
		return e.MAC, nil
	}
	from := []string{string(e.ID)}
	for _, f := range model.Families {
		if a := e.Address(f); a.IsValid() && !n.Leased() { // whom a server knows has it before its address
			from = []string{string(e.Network), a.String()}
			break
		}
	}
	for {
		mac := driver.MAC(from...)
		if _, held := holderOfMAC(tx, n, e, mac); !held {
			return mac, nil
		}
		from = append(from, "another") // somebody asked for just this one
	}
}

// holderOfMAC says who else on a network has a MAC address now.
func holderOfMAC(tx Tx, n model.Network, e model.Endpoint, mac string) (string, bool) {
	if mac == driver.BridgeMAC(n.ID) {
		return "the bridge of network " + n.Name, true
	}
	for other := range tx.View().MACHolders(n.ID, mac) {
		if other.Up && other.ID != e.ID {
			sb, _ := tx.View().Sandbox(other.Sandbox)
			return fmt.Sprintf("container %s (%s)", sb.Name, model.Short(sb.Container)), true
		}
	}
	return "", false
}

// address gives e an address of family f: the one it claims, or the next free
// one.
func address(tx Tx, n model.Network, e model.Endpoint, f model.Family) (model.Endpoint, error) {
	if n.Scope == model.ScopeSwarm && !e.Address(f).IsValid() {
		return e, nil // the swarm gives this network none of this family
	}
	if claimed := e.Address(f); claimed.IsValid() {
		holder, held := holderOf(tx, n, e, claimed)
		switch {
		case !held:
			return e, nil
		case e.Static(f), n.Scope == model.ScopeSwarm:
			return e, &model.Error{Op: "endpoint.attach", Subject: "network " + n.Name, Kind: model.Forbidden,
				Err: errors.New(addressInUse),
				Who: fmt.Sprintf("%s is held by %s", claimed, holder)}
		}
		e = e.WithAddress(f, netip.Addr{}, false)
	}
	for _, pool := range poolsOf(n, f) {
		a, ok := ipam.Address(ipam.Request{
			Subnet: pool.Subnet, Range: pool.Range, Cursor: tx.View().Cursor(n.ID, f),
			Taken: func(a netip.Addr) bool { return reserved(tx, n, pool, a) || asked(tx, n, e.ID, a) },
		})
		if ok {
			tx.PutCursor(n.ID, a)
			return e.WithAddress(f, a, false), nil
		}
	}
	if a, ok := reclaim(tx, n, f); ok {
		return e.WithAddress(f, a, false), nil
	}
	if len(poolsOf(n, f)) == 0 {
		return e, nil
	}
	return e, noAddress(n, f)
}

// holderOf says who else uses an address now: the network itself or an endpoint
// that is up. A claim of one that is down does not count.
func holderOf(tx Tx, n model.Network, e model.Endpoint, a netip.Addr) (string, bool) {
	for _, pool := range poolsOf(n, model.FamilyOf(a)) {
		switch {
		case pool.Gateway == a:
			return "the gateway of network " + n.Name, true
		case auxiliary(pool, a):
			return "network " + n.Name + " as an auxiliary address", true
		case pool.Subnet.Contains(a) && ipam.Reserved(pool.Subnet, a):
			return "network " + n.Name + " as its own or its broadcast address", true
		}
	}
	for other := range tx.View().Holders(n.ID, a) {
		if other.Up && other.ID != e.ID {
			sb, _ := tx.View().Sandbox(other.Sandbox)
			return fmt.Sprintf("container %s (%s)", sb.Name, model.Short(sb.Container)), true
		}
	}
	return "", false
}

// reserved tells whether an address is not to be given out by itself.
func reserved(tx Tx, n model.Network, p model.Pool, a netip.Addr) bool {
	if a == p.Gateway || auxiliary(p, a) {
		return true
	}
	for e := range tx.View().Holders(n.ID, a) {
		if !e.Yielded || e.Static(model.FamilyOf(a)) {
			return true
		}
	}
	return false
}

// reclaim takes the address of the endpoint that has been down the longest
// among those that were given theirs by themselves. It is the way out of a full
// pool: a container that never starts again does not block one that starts now.
func reclaim(tx Tx, n model.Network, f model.Family) (netip.Addr, bool) {
	var oldest model.Endpoint
	for e := range tx.View().EndpointsOn(n.ID) {
		soft := !e.Up && e.Address(f).IsValid() && !e.Static(f)
		if soft && (oldest.ID == "" || e.DownSince < oldest.DownSince) {
			oldest = e
		}
	}
	if oldest.ID == "" {
		return netip.Addr{}, false
	}
	a := oldest.Address(f)
	tx.PutEndpoint(oldest.WithAddress(f, netip.Addr{}, false))
	return a, true
}

// interfaceName returns the name of e's interface: the one asked for, or the
// lowest free one.
func interfaceName(tx Tx, n model.Network, e model.Endpoint) (string, error) {
	used := map[string]bool{"lo": true}
	for other := range tx.View().EndpointsOf(e.Sandbox) {
		if other.Up && other.ID != e.ID {
			used[other.Interface] = true
		}
	}
	sb, _ := tx.View().Sandbox(e.Sandbox)
	for _, taken := range tx.Facts().TakenNames { // by interfaces of the container's own
		if taken.Namespace == model.NamespaceOf(sb.Container) {
			used[taken.Name] = true
		}
	}
	if name := e.DriverOpts[driver.OptionInterface]; name != "" {
		if used[name] {
			return "", &model.Error{Kind: model.Unfit, Subject: "network " + n.Name,
				Err: fmt.Errorf("error renaming interface to %q: file exists", name),
				Who: fmt.Sprintf("container %s has an interface of that name already", sb.Name),
				Way: "choose another one with " + driver.OptionInterface + ", or none"}
		}
		return name, nil
	}
	prefix := driver.InterfacePrefix(n)
	if j := tx.Facts().Endpoint(e.ID).Joined; j != nil && j.Prefix != "" {
		prefix = j.Prefix
	}
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s%d", prefix, i); !used[name] {
			return name, nil
		}
	}
}

func nextOrder(tx Tx, id model.SandboxID) int {
	next := 0
	for e := range tx.View().EndpointsOf(id) {
		next = max(next, e.Order+1)
	}
	return next
}
