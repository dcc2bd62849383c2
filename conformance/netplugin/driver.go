package netplugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Driver is a plugin that keeps to the protocol and makes nothing: an endpoint that joins
// has no interface. It implements http.Handler, for a listener on a unix socket.
type Driver struct {
	// RequiresMAC and RequiresReplay are what it says of itself as an IPAM driver.
	RequiresMAC, RequiresReplay bool

	mu       sync.Mutex // guards what follows
	networks map[string]map[string]*endpoint
	pools    map[string]*pool
}

type endpoint struct{ joined bool }

type pool struct {
	subnet, part netip.Prefix
	references   int
	taken        map[netip.Addr]bool
}

var errUnknown = errors.New("it is not known")

// ServeHTTP implements http.Handler.
func (d *Driver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", mimeType+".2+json")
	method := strings.TrimPrefix(r.URL.Path, "/")
	do, known := d.methods()[method]
	if !known || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(one("Err", "there is no "+method)) //nolint:errcheck // whoever asked has gone
		return
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	var out any
	if err == nil {
		d.mu.Lock()
		out, err = do(raw)
		d.mu.Unlock()
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		out = one("Err", err.Error()).put("Error", err.Error())
	}
	json.NewEncoder(w).Encode(out) //nolint:errcheck // whoever asked has gone
}

// as has a method read what it takes.
func as[T any](do func(T) (any, error)) func([]byte) (any, error) {
	return func(raw []byte) (any, error) {
		var in T
		if err := decode(raw, &in); err != nil {
			return nil, err
		}
		return do(in)
	}
}

func says(answer object) func([]byte) (any, error) {
	return as(func(object) (any, error) { return answer, nil })
}

func (d *Driver) methods() map[string]func([]byte) (any, error) {
	return map[string]func([]byte) (any, error){
		activate:                                says(one("Implements", []string{NetworkRole, IPAMRole})),
		network + "GetCapabilities":             says(one("Scope", "local").put("ConnectivityScope", "local")),
		network + "CreateNetwork":               as(d.createNetwork),
		network + "DeleteNetwork":               as(d.deleteNetwork),
		network + "CreateEndpoint":              as(d.createEndpoint),
		network + "EndpointOperInfo":            as(d.onEndpoint(nil)),
		network + "Join":                        as(d.onEndpoint(join)),
		network + "Leave":                       as(d.onEndpoint(leave)),
		network + "DeleteEndpoint":              as(d.deleteEndpoint),
		network + "ProgramExternalConnectivity": as(d.onEndpoint(nil)),
		network + "RevokeExternalConnectivity":  as(d.onEndpoint(nil)),
		network + "DiscoverNew":                 says(object{}),
		network + "DiscoverDelete":              says(object{}),
		ipam + "GetCapabilities":                says(one("RequiresMACAddress", d.RequiresMAC).put("RequiresRequestReplay", d.RequiresReplay)),
		ipam + "GetDefaultAddressSpaces":        says(one("LocalDefaultAddressSpace", "here").put("GlobalDefaultAddressSpace", "there")),
		ipam + "RequestPool":                    as(d.requestPool),
		ipam + "ReleasePool":                    as(d.releasePool),
		ipam + "RequestAddress":                 as(d.requestAddress),
		ipam + "ReleaseAddress":                 as(d.releaseAddress),
	}
}

func (d *Driver) createNetwork(q createNetwork) (any, error) {
	if _, there := d.networks[q.NetworkID]; there || q.NetworkID == "" {
		return nil, fmt.Errorf("network %q cannot be made: there is one, or it is no ID", q.NetworkID)
	}
	for i, p := range slices.Concat(q.IPv4Data, q.IPv6Data) {
		if err := p.check(i >= len(q.IPv4Data)); err != nil {
			return nil, err
		}
	}
	if d.networks == nil {
		d.networks = map[string]map[string]*endpoint{}
	}
	d.networks[q.NetworkID] = map[string]*endpoint{}
	return object{}, nil
}

func (d *Driver) deleteNetwork(q createNetwork) (any, error) {
	endpoints, there := d.networks[q.NetworkID]
	switch {
	case !there:
		return nil, fmt.Errorf("network %q: %w", q.NetworkID, errUnknown)
	case len(endpoints) > 0:
		return nil, fmt.Errorf("network %q has endpoints", q.NetworkID)
	}
	delete(d.networks, q.NetworkID)
	return object{}, nil
}

func (d *Driver) createEndpoint(q createEndpoint) (any, error) {
	endpoints, there := d.networks[q.NetworkID]
	if !there {
		return nil, fmt.Errorf("network %q: %w", q.NetworkID, errUnknown)
	}
	if endpoints[q.EndpointID] != nil || q.EndpointID == "" {
		return nil, fmt.Errorf("endpoint %q cannot be made: there is one, or it is no ID", q.EndpointID)
	}
	endpoints[q.EndpointID] = &endpoint{}
	given := object{}
	if q.Interface == nil || q.Interface.MacAddress == "" {
		given.put("MacAddress", "02:42:0a:00:00:01")
	}
	return one("Interface", given), nil
}

func (d *Driver) deleteEndpoint(q endpointCall) (any, error) {
	e := d.networks[q.NetworkID][q.EndpointID]
	switch {
	case e == nil:
		return nil, fmt.Errorf("endpoint %q: %w", q.EndpointID, errUnknown)
	case e.joined:
		return nil, fmt.Errorf("endpoint %q is in a container", q.EndpointID)
	}
	delete(d.networks[q.NetworkID], q.EndpointID)
	return object{}, nil
}

// onEndpoint is a call about an endpoint that is there.
func (d *Driver) onEndpoint(do func(*endpoint) (any, error)) func(endpointCall) (any, error) {
	return func(q endpointCall) (any, error) {
		e := d.networks[q.NetworkID][q.EndpointID]
		if e == nil {
			return nil, fmt.Errorf("endpoint %q: %w", q.EndpointID, errUnknown)
		}
		if do == nil {
			return one("Value", object{}), nil
		}
		return do(e)
	}
}

func join(e *endpoint) (any, error) {
	if e.joined {
		return nil, errors.New("it is in a container")
	}
	e.joined = true
	return one("DisableGatewayService", true), nil
}

func leave(e *endpoint) (any, error) {
	if !e.joined {
		return nil, errors.New("it is in no container")
	}
	e.joined = false
	return object{}, nil
}

// choices are the subnets that are given to who asks for any, by family.
func choices(six bool, n byte) netip.Prefix {
	if six {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x6c, 0x73, 0xcf, 0, 0, 0, n}), 64)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 239, n, 0}), 24)
}

func (d *Driver) requestPool(q requestPool) (any, error) {
	subnet, part := netip.Prefix{}, netip.Prefix{}
	var err error
	switch {
	case q.AddressSpace == "" || q.Pool == "" && q.SubPool != "":
		return nil, errors.New("an address space must be named, and a pool before its part")
	case q.Pool != "":
		if subnet, err = netip.ParsePrefix(q.Pool); err != nil {
			return nil, err
		}
	default:
		for n := byte(0); n < 255; n++ {
			if subnet = choices(q.V6, n); !d.overlaps(subnet) {
				break
			}
		}
	}
	subnet, part = subnet.Masked(), subnet.Masked()
	if q.SubPool != "" {
		if part, err = netip.ParsePrefix(q.SubPool); err != nil || !subnet.Contains(part.Addr()) || part.Bits() < subnet.Bits() {
			return nil, fmt.Errorf("%q is no part of %s", q.SubPool, subnet)
		}
	}
	id := q.AddressSpace + "/" + subnet.String() + "/" + part.Masked().String()
	if d.pools[id] == nil {
		if d.overlaps(subnet) {
			return nil, fmt.Errorf("pool %s overlaps another", subnet)
		}
		if d.pools == nil {
			d.pools = map[string]*pool{}
		}
		d.pools[id] = &pool{subnet: subnet, part: part.Masked(), taken: map[netip.Addr]bool{}}
	}
	d.pools[id].references++
	return poolAnswer{PoolID: id, Pool: subnet.String(), Data: map[string]string{}}, nil
}

func (d *Driver) overlaps(subnet netip.Prefix) bool {
	for _, p := range d.pools {
		if p.subnet.Overlaps(subnet) {
			return true
		}
	}
	return false
}

func (d *Driver) releasePool(q poolCall) (any, error) {
	p := d.pools[q.PoolID]
	if p == nil {
		return nil, fmt.Errorf("pool %q: %w", q.PoolID, errUnknown)
	}
	if p.references--; p.references == 0 {
		delete(d.pools, q.PoolID)
	}
	return object{}, nil
}

func (d *Driver) requestAddress(q poolCall) (any, error) {
	p := d.pools[q.PoolID]
	if p == nil {
		return nil, fmt.Errorf("pool %q: %w", q.PoolID, errUnknown)
	}
	if d.RequiresMAC && q.Address == "" && q.Options[optionMAC] == "" && q.Options[optionAddressType] == "" {
		return nil, errors.New("a MAC address is required")
	}
	if q.Address == "" {
		for a := p.part.Addr().Next(); p.part.Contains(a); a = a.Next() {
			if !p.taken[a] {
				p.taken[a] = true
				return addressAnswer{netip.PrefixFrom(a, p.subnet.Bits()).String()}, nil
			}
		}
		return nil, errors.New("no address is free")
	}
	a, err := netip.ParseAddr(q.Address)
	if err != nil || !p.subnet.Contains(a) || p.taken[a] {
		return nil, fmt.Errorf("address %q is taken, or not of %s", q.Address, p.subnet)
	}
	p.taken[a] = true
	return addressAnswer{netip.PrefixFrom(a, p.subnet.Bits()).String()}, nil
}

func (d *Driver) releaseAddress(q poolCall) (any, error) {
	p := d.pools[q.PoolID]
	a, err := netip.ParseAddr(q.Address)
	if p == nil || err != nil || !p.taken[a] {
		return nil, fmt.Errorf("address %q of pool %q: %w", q.Address, q.PoolID, errUnknown)
	}
	delete(p.taken, a)
	return object{}, nil
}
