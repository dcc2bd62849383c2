package ops

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
)

// NetworkMaker is what creating a network needs beside the request.
type NetworkMaker struct {
	Drivers driver.Set
	Bases   []ipam.Base // where subnets come from that nobody asked for
	Host    HostSettings
	// Renumber lets an idle default bridge give up a subnet that Bases do not offer.
	Renumber bool
	// Defaults are options that new networks begin with, by driver.
	Defaults map[string]map[string]string
}

// Create returns the op that creates n. n.ID and n.Created are set by the
// caller; pools hold only what the user asked for, and Scope too. explicit are
// the families that the user switched on or off himself: the others may be by
// options.
func (m NetworkMaker) Create(n model.Network, explicit ...model.Family) Op {
	return func(tx Tx) error {
		n, err := m.complete(n, explicit)
		if err != nil {
			return err
		}
		if err := m.admit(tx, n); err != nil {
			return err
		}
		if n, err = fromTemplate(tx, n); err != nil {
			return err
		}
		wished := n
		n.Scope = scopeLocal
		if !n.ConfigOnly {
			return m.put(tx, n, wished)
		}
		if _, err := driver.DNSRoutes(n); err != nil {
			return err
		}
		if err := driver.CheckInherited(n.Options); err != nil {
			return err
		}
		n.Driver = driver.Placeholder
		tx.PutNetwork(n)
		return nil
	}
}

// complete returns n with what the request left out, and refuses a name that is
// none, and pools that cannot be.
func (m NetworkMaker) complete(n model.Network, explicit []model.Family) (model.Network, error) {
	if n.Driver == "" {
		n.Driver = m.Drivers.Default()
	}
	if err := checkName(n); err != nil {
		return n, err
	}
	if n.ConfigFrom == "" {
		n.Options = withDefaults(n.Options, m.Defaults[n.Driver])
	}
	n, err := driver.Families(n, explicit...)
	if err != nil {
		return n, err
	}
	return n, checkPools(n)
}

func withDefaults(options, defaults map[string]string) map[string]string {
	out := maps.Clone(defaults)
	if out == nil {
		return options
	}
	maps.Copy(out, options)
	return out
}

// put gives a network its pools and stores it. wished is the network as its user asked for
// it.
func (m NetworkMaker) put(tx Tx, n, wished model.Network) error {
	d, err := m.Drivers.Find(n.Driver)
	if err != nil {
		return err
	}
	if settler, ok := d.(driver.Settler); ok {
		if n, err = settler.Settle(n, tx.Facts().Host); err != nil {
			return err
		}
	}
	traits := d.Traits()
	if traits.Addresses {
		if !n.IPv4 && !n.IPv6 {
			return model.Errorf(model.Invalid, "IPv4 or IPv6 must be enabled")
		}
		if n, err = m.allocate(tx, n, d); err != nil {
			return err
		}
		if n, err = askOutside(tx, n, wished); err != nil {
			return err
		}
		if n, err = seatHost(tx, n, d); err != nil {
			return err
		}
	} else {
		n.IPAM.Pools = nil
	}
	if err := d.Validate(n, tx.View().Networks()); err != nil {
		return err
	}
	if err := driver.CheckCommon(n); err != nil {
		return err
	}
	if _, err := driver.DNSRoutes(n); err != nil {
		return err
	}
	if _, onParent := m.Drivers.ParentOf(n); !onParent { // there the host forwards nothing
		m.Host.forward6(tx, n)
	}
	tx.PutNetwork(n)
	return nil
}

// checkName refuses names that no network can have, and the one driver that
// Docker refuses before it looks at anything else.
func checkName(n model.Network) error {
	switch {
	case strings.TrimSpace(n.Name) == "":
		return model.Errorf(model.Invalid, "invalid name: name is empty")
	case model.Predefined(n.Name):
		return model.Errorf(model.Forbidden, "operation is not permitted on predefined %s network ", n.Name)
	case n.Name == "container" || strings.HasPrefix(n.Name, "container:"):
		// No container could ask for it: its network mode is taken for another's.
		return model.Errorf(model.Forbidden, "network name %q is reserved and cannot be created", clip(n.Name))
	case len(n.Name) > maxName:
		return model.Errorf(model.Invalid, "invalid name: %q… is too long (maximum %d bytes)", n.Name[:32], maxName)
	}
	return nil
}

// CheckNetwork refuses a name that is none, and pools that cannot be, wherever the
// network is to be.
func CheckNetwork(n model.Network) error {
	if err := checkName(n); err != nil {
		return err
	}
	return checkPools(n)
}

// clip shortens what is too long to be repeated in an error.
func clip(name string) string { return name[:min(len(name), 128)] }

// admit refuses what no driver needs to look at.
func (m NetworkMaker) admit(tx Tx, n model.Network) error {
	if other, exists := tx.View().NetworkNamed(n.Name); exists {
		return &model.Error{Op: "network.create", Subject: "network " + n.Name, Kind: model.Conflict,
			Err: fmt.Errorf("network with name %s already exists", n.Name),
			Who: "it has the ID " + model.Short(other.ID)}
	}
	if n.ConfigOnly && (n.Internal || n.Attachable || n.Scope != "") {
		return model.Errorf(model.Forbidden, "configuration network can only contain network specific fields. "+
			"Network operator fields like [ ingress | internal | attachable | scope ] are not supported.")
	}
	if n.ConfigOnly {
		return nil
	}
	d, err := m.Drivers.Find(n.Driver)
	if err != nil {
		return err
	}
	switch {
	case d.Traits().Single:
		return model.Errorf(model.Forbidden, "only one instance of %q network is allowed", n.Driver)
	case n.Scope != "" && n.Scope != scopeLocal:
		return model.Errorf(model.Forbidden, "cannot create a swarm scoped network when swarm is not active")
	}
	return nil
}

// scopeLocal is the only scope there is: networks of one host.
const scopeLocal = "local"

// maxName bounds the names of networks: they are written into DNS answers,
// logs and labels. No user's network comes near it.
const maxName = 4096

// fromTemplate fills in the settings of the config-only network that n names.
func fromTemplate(tx Tx, n model.Network) (model.Network, error) {
	if n.ConfigFrom == "" {
		return n, nil
	}
	switch template, ok := tx.View().NetworkNamed(n.ConfigFrom); {
	case n.ConfigOnly:
		return n, model.Errorf(model.Forbidden, "a configuration network cannot depend on another configuration network")
	case len(n.IPAM.Pools) > 0, len(n.IPAM.Options) > 0, n.IPAM.Driver != "" && n.IPAM.Driver != ipamDefault, len(n.Labels) > 0, !n.IPv4, n.IPv6:
		return n, model.Errorf(model.Forbidden, "user-specified configurations are not supported if the network depends on a configuration network")
	case len(n.Options) > 0:
		return n, model.Errorf(model.Forbidden, "network driver options are not supported if the network depends on a configuration network")
	case !ok || !template.ConfigOnly:
		return n, model.Errorf(model.NotFound, "configuration network %q does not exist", n.ConfigFrom)
	default:
		n.IPAM, n.Options, n.Labels = template.IPAM, template.Options, template.Labels
		n.IPv4, n.IPv6 = template.IPv4, template.IPv6
		return n, nil
	}
}

// The ways to give out addresses that are built in: ipamNone gives out none.
const (
	ipamDefault = "default"
	ipamNone    = "null"
)

// allocate settles the subnets and gateways of n.
func (m NetworkMaker) allocate(tx Tx, n model.Network, d driver.Driver) (model.Network, error) {
	if n.IPAM.Driver == "" {
		n.IPAM.Driver = ipamDefault
	}
	if n.Leased() {
		return n, driver.CheckLeased(n, d)
	}
	if err := checkPools(n); err != nil {
		return n, err // those of the daemon's flags are seen here for the first time, and those of a template again
	}
	if foreignIPAM(n) && !m.Drivers.Plugins() {
		return n, model.Errorf(model.NotFound, "plugin %q not found", n.IPAM.Driver)
	}
	if foreignIPAM(n) {
		return n, nil // who gives out its addresses chooses, and is asked
	}
	var pools []model.Pool
	for _, f := range model.Families {
		if !n.Enabled(f) {
			continue
		}
		asked := poolsOf(n, f)
		if len(asked) > 1 && d.Traits().OnePool {
			return n, model.Errorf(model.Forbidden, "%s driver doesn't support multiple subnets", n.Driver)
		}
		if len(asked) == 0 && n.IPAM.Driver == ipamDefault {
			asked = []model.Pool{{}}
		}
		for _, p := range asked {
			p, err := m.pool(tx, n.ID, f, p, pools)
			if err != nil {
				return n, err
			}
			if p, err = settleGateway(n, p, d); err != nil {
				return n, err
			}
			pools = append(pools, p)
		}
	}
	n.IPAM.Pools = pools
	return n, nil
}

// pool settles one subnet: the one asked for if it is free, else the lowest
// free one.
func (m NetworkMaker) pool(tx Tx, id model.NetworkID, f model.Family, p model.Pool, own []model.Pool) (model.Pool, error) {
	bits := 0
	if p.Subnet.IsValid() && p.Subnet.Addr().IsUnspecified() {
		bits = p.Subnet.Bits() // "any subnet of this size"; of length 0, of any
	} else if p.Subnet.IsValid() {
		return p, free(tx, id, p.Subnet, own)
	}
	taken := busySubnets(tx)
	for _, other := range poolHolders(tx, id) {
		for _, q := range other.IPAM.Pools {
			taken = append(taken, q.Subnet)
		}
	}
	bases := m.Bases
	if ula := tx.Facts().Host.UniqueLocal; ula.IsValid() {
		bases = append(append([]ipam.Base(nil), bases...), ipam.Base{Prefix: ula, Bits: 64})
	}
	subnet, ok := ipam.Subnet(f, bases, bits, taken)
	if !ok && bits != 0 {
		return p, model.Errorf(model.Invalid, "invalid address pool")
	}
	if !ok {
		return p, &model.Error{Op: "network.create", Kind: model.Invalid,
			Err: fmt.Errorf("all predefined address pools have been fully subnetted"),
			Way: "remove networks that are not in use (docker network prune), name a subnet with --subnet, or add pools with --default-address-pool",
		}
	}
	p.Subnet = subnet
	return p, nil
}

// free refuses a subnet that overlaps one in use.
func free(tx Tx, id model.NetworkID, subnet netip.Prefix, own []model.Pool) error {
	for _, other := range poolHolders(tx, id) {
		for _, q := range other.IPAM.Pools {
			if q.Subnet.Overlaps(subnet) {
				return &model.Error{Op: "network.create", Kind: model.Forbidden,
					Err: fmt.Errorf("invalid pool request: Pool overlaps with other one on this address space"),
					Who: fmt.Sprintf("%s belongs to network %s", q.Subnet, other.Name)}
			}
		}
	}
	for _, q := range own {
		if q.Subnet.Overlaps(subnet) {
			return model.Errorf(model.Forbidden, "invalid pool request: Pool overlaps with other one on this address space")
		}
	}
	return nil
}

func noAddress(n model.Network, f model.Family) error {
	return &model.Error{Op: "endpoint.attach", Subject: "network " + n.Name, Kind: model.Unfit,
		Err: fmt.Errorf("no available IPv%d addresses on this network's address pools: %s (%s)", f, n.Name, n.ID),
		Way: "disconnect containers that are not needed, or use a network with a larger subnet"}
}

func poolsOf(n model.Network, f model.Family) []model.Pool {
	var out []model.Pool
	for _, p := range n.IPAM.Pools {
		if model.FamilyOf(p.Subnet.Addr()) == f {
			out = append(out, p)
		}
	}
	return out
}
