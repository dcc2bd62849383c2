package netplugin

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins"
)

// Keys of options that come with addresses.
const (
	OptionAddressType  = "RequestAddressType"
	OptionGateway      = "com.docker.network.gateway"
	OptionEndpointName = "com.docker.network.endpoint.name"
	OptionMAC          = "com.docker.network.endpoint.macaddress"
)

// IPAM is a plugin that gives out addresses.
type IPAM struct{ Plugin Caller }

func (i IPAM) call(ctx context.Context, method string, in any, out interface{ refusal() string }) error {
	if err := i.Plugin.Call(ctx, plugins.IpamDriver+"."+method, in, out); err != nil {
		return failed(err)
	}
	return refused(out.refusal())
}

// ipamAnswer is what every answer of an IPAM driver has.
type ipamAnswer struct{ Error string }

func (a ipamAnswer) refusal() string { return a.Error }

// IPAMCapabilities are what an IPAM driver says of itself.
type IPAMCapabilities struct {
	NeedsMAC    bool // it must know an endpoint's MAC address
	NeedsReplay bool // it forgets what it gave out when it, or the engine, ends
}

// Capabilities asks what the driver is. One that does not know the call has none.
func (i IPAM) Capabilities(ctx context.Context) (IPAMCapabilities, error) {
	var a struct {
		ipamAnswer
		RequiresMACAddress, RequiresRequestReplay bool
	}
	err := i.call(ctx, "GetCapabilities", nil, &a)
	if Refused(err) {
		return IPAMCapabilities{}, nil
	}
	return IPAMCapabilities{a.RequiresMACAddress, a.RequiresRequestReplay}, err
}

// Spaces asks for the names of the address spaces of networks of one host, and of many.
func (i IPAM) Spaces(ctx context.Context) (local, global string, err error) {
	var a struct {
		ipamAnswer
		LocalDefaultAddressSpace, GlobalDefaultAddressSpace string
	}
	if err = i.call(ctx, "GetDefaultAddressSpaces", nil, &a); err != nil {
		return "", "", model.Errorf(model.KindOf(err), "failed to get default address space: %w", err)
	}
	return a.LocalDefaultAddressSpace, a.GlobalDefaultAddressSpace, nil
}

// PoolRequest asks for a subnet; what is empty is the driver's to choose.
type PoolRequest struct {
	AddressSpace  string
	Pool, SubPool string
	Options       map[string]string
	V6            bool
}

// Pool is a subnet that was given.
type Pool struct {
	ID      string
	Subnet  netip.Prefix
	Gateway netip.Prefix // that came with it; invalid: none did
}

// maxID bounds what a plugin calls a subnet, in bytes.
const maxID = 4096

// RequestPool asks for a subnet. One that is no use, and is given back, is an error.
func (i IPAM) RequestPool(ctx context.Context, r PoolRequest) (Pool, error) {
	var a struct {
		ipamAnswer
		PoolID, Pool string
		Data         map[string]string
	}
	if err := i.call(ctx, "RequestPool", r, &a); err != nil {
		return Pool{}, err
	}
	p := Pool{ID: a.PoolID}
	err := p.read(a.Pool, a.Data, r.V6)
	if err == nil {
		return p, nil
	}
	if undo := i.ReleasePool(ctx, p.ID); undo != nil {
		return p, model.Errorf(model.Unfit, "%w; failed to roll back: %w", undo, err)
	}
	return p, model.Errorf(model.Unfit, "%w", err)
}

func (p *Pool) read(subnet string, data map[string]string, six bool) error {
	if len(p.ID) > maxID || hasControl(p.ID) {
		return fmt.Errorf("invalid pool ID %.64q", p.ID)
	}
	var err error
	if p.Subnet, err = parsePrefix(subnet); err != nil {
		return err
	}
	if p.Subnet.Addr().Is6() != six {
		return fmt.Errorf("invalid pool %s: it is of the other address family", p.Subnet)
	}
	p.Subnet = p.Subnet.Masked()
	text, given := data[OptionGateway]
	if !given {
		return nil
	}
	if p.Gateway, err = parsePrefix(text); err != nil {
		return fmt.Errorf("failed to parse gateway address (%s) returned by ipam driver: %w", plugins.Said(text), err)
	}
	if p.Gateway.Addr().Is6() != six {
		return fmt.Errorf("failed to parse gateway address (%s) returned by ipam driver: it is of the other address family", p.Gateway)
	}
	return nil
}

// ReleasePool gives a subnet back.
func (i IPAM) ReleasePool(ctx context.Context, id string) error {
	return i.call(ctx, "ReleasePool", struct{ PoolID string }{id}, &ipamAnswer{})
}

// RequestAddress asks for an address of a subnet, for a certain one if it is valid.
func (i IPAM) RequestAddress(ctx context.Context, pool string, wanted netip.Addr, options map[string]string) (netip.Prefix, error) {
	var a struct {
		ipamAnswer
		Address string
		Data    map[string]string
	}
	err := i.call(ctx, "RequestAddress", struct {
		PoolID, Address string
		Options         map[string]string
	}{pool, addrText(wanted), options}, &a)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a.Address == "" {
		return netip.Prefix{}, model.Errorf(model.Unfit, "no address returned")
	}
	p, err := parsePrefix(a.Address)
	if err != nil {
		return netip.Prefix{}, model.Errorf(model.Unfit, "%w", err)
	}
	return p, nil
}

// ReleaseAddress gives an address back.
func (i IPAM) ReleaseAddress(ctx context.Context, pool string, a netip.Addr) error {
	return i.call(ctx, "ReleaseAddress", struct{ PoolID, Address string }{pool, addrText(a)}, &ipamAnswer{})
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
