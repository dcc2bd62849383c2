// Package netplugin has the calls of a plugin that is a network driver, and of one that
// gives out addresses (moby: daemon/libnetwork/drivers/remote, ipams/remote).
//
// It translates, and decides nothing: answers are read into typed values, and what is no
// address or route is an error.
package netplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins"
)

// Caller is a plugin.
type Caller interface {
	Call(ctx context.Context, method string, in, out any) error
}

// Driver is a plugin as a network driver.
type Driver struct{ Plugin Caller }

// call makes one call of the role. A refusal is Unfit, in Docker's words.
func (d Driver) call(ctx context.Context, method string, in any, out interface{ refusal() string }) error {
	if err := d.Plugin.Call(ctx, plugins.NetworkDriver+"."+method, in, out); err != nil {
		return failed(err)
	}
	return refused(out.refusal())
}

// failed keeps what kind of error it is, and makes any other Unfit: Docker answers as if
// the fault were its own.
func failed(err error) error {
	if model.KindOf(err) != model.Internal {
		return err
	}
	return model.Errorf(model.Unfit, "%w", err)
}

// Refusal is what a plugin said instead of doing something.
type Refusal struct{ Text string }

// Error implements error, in Docker's words.
func (r *Refusal) Error() string { return "remote: " + r.Text }

func refused(text string) error {
	if text == "" {
		return nil
	}
	return model.Errorf(model.Unfit, "%w", &Refusal{plugins.Said(text)})
}

// Refused tells whether a plugin was there and said no.
func Refused(err error) bool {
	var refusal *Refusal
	var status *plugins.StatusError
	return errors.As(err, &refusal) || errors.As(err, &status)
}

// Told tells whether a plugin has heard what it was told, whatever it made of it.
func Told(err error) bool {
	var garbled *plugins.GarbledError
	return err == nil || Refused(err) || errors.As(err, &garbled)
}

// Options are what drivers are told besides, as JSON.
type Options map[string]json.RawMessage

// Put adds an option. What cannot be written as JSON is left out.
func (o Options) Put(key string, value any) {
	if raw, err := json.Marshal(value); err == nil {
		o[key] = raw
	}
}

// answer is what every answer of a network driver has.
type answer struct{ Err string }

func (a answer) refusal() string { return a.Err }

// Scopes of networks.
const (
	ScopeLocal  = "local"
	ScopeGlobal = "global"
)

// Capabilities are what a driver says of itself.
type Capabilities struct {
	Scope, ConnectivityScope string
	// ChoosesGateways says that the driver knows which networks need no gateway.
	ChoosesGateways bool
}

// Capabilities asks what the driver is. Errors: Unfit, in Docker's words, for a scope that
// is none.
func (d Driver) Capabilities(ctx context.Context) (Capabilities, error) {
	var a struct {
		answer
		Scope, ConnectivityScope string
		GwAllocChecker           bool
	}
	if err := d.call(ctx, "GetCapabilities", nil, &a); err != nil {
		return Capabilities{}, err
	}
	valid := func(scope string) bool { return scope == ScopeLocal || scope == ScopeGlobal }
	if !valid(a.Scope) || a.ConnectivityScope != "" && !valid(a.ConnectivityScope) {
		return Capabilities{}, model.Errorf(model.Unfit, "invalid capability: expecting 'local' or 'global', got %s", plugins.Said(a.Scope))
	}
	out := Capabilities{a.Scope, a.ConnectivityScope, a.GwAllocChecker}
	if out.ConnectivityScope == "" {
		out.ConnectivityScope = out.Scope
	}
	return out, nil
}

// NeedsNoGateway asks in which families a network with these options needs no address for
// a gateway.
func (d Driver) NeedsNoGateway(ctx context.Context, options Options) (skip4, skip6 bool, err error) {
	var a struct {
		answer
		SkipIPv4, SkipIPv6 bool
	}
	err = d.call(ctx, "GwAllocCheck", struct{ Options Options }{options}, &a)
	return a.SkipIPv4, a.SkipIPv6, err
}

// PoolData is a subnet as drivers are told of it. Prefixes hold an address and the length
// of its subnet.
type PoolData struct {
	AddressSpace string
	Pool         string            `json:",omitempty"`
	Gateway      string            `json:",omitempty"`
	AuxAddresses map[string]string `json:",omitempty"`
}

// NewNetwork is a network as its driver is told of it.
type NewNetwork struct {
	NetworkID          string
	Options            Options
	IPv4Data, IPv6Data []PoolData
}

// CreateNetwork tells of a new network.
func (d Driver) CreateNetwork(ctx context.Context, n NewNetwork) error {
	return d.call(ctx, "CreateNetwork", n, &answer{})
}

// DeleteNetwork tells that a network is gone.
func (d Driver) DeleteNetwork(ctx context.Context, id model.NetworkID) error {
	return d.call(ctx, "DeleteNetwork", struct{ NetworkID model.NetworkID }{id}, &answer{})
}

// AllocateNetwork asks, on a manager of a cluster, for what the drivers on all hosts are
// to be given as options of a network of global scope.
func (d Driver) AllocateNetwork(ctx context.Context, id model.NetworkID, options map[string]string, four, six []PoolData) (map[string]string, error) {
	var a struct {
		answer
		Options map[string]string
	}
	err := d.call(ctx, "AllocateNetwork", struct {
		NetworkID          model.NetworkID
		Options            map[string]string
		IPv4Data, IPv6Data []PoolData
	}{id, options, four, six}, &a)
	return a.Options, err
}

// FreeNetwork takes AllocateNetwork back.
func (d Driver) FreeNetwork(ctx context.Context, id model.NetworkID) error {
	return d.call(ctx, "FreeNetwork", struct{ NetworkID model.NetworkID }{id}, &answer{})
}

// EndpointAt names an endpoint.
type EndpointAt struct {
	NetworkID  model.NetworkID
	EndpointID model.EndpointID
}

// Interface is what an endpoint has; what is zero it has not yet.
type Interface struct {
	Addr4, Addr6 netip.Prefix
	MAC          string
}

type wireInterface struct{ Address, AddressIPv6, MacAddress string }

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// CreateEndpoint tells of a new endpoint and returns what it has then: the driver may give
// it what it had not. Otherwise the driver is told that it is gone again.
func (d Driver) CreateEndpoint(ctx context.Context, at EndpointAt, has Interface, options Options) (Interface, error) {
	var a struct {
		answer
		Interface *wireInterface
	}
	err := d.call(ctx, "CreateEndpoint", struct {
		EndpointAt
		Interface wireInterface
		Options   Options
	}{at, wireInterface{prefixText(has.Addr4), prefixText(has.Addr6), has.MAC}, options}, &a)
	if err != nil || a.Interface == nil {
		return has, err
	}
	got, err := has.with(*a.Interface)
	if err == nil {
		return got, nil
	}
	if undo := d.DeleteEndpoint(ctx, at); undo != nil {
		return has, model.Errorf(model.Unfit, "%w; failed to roll back: %w", undo, err)
	}
	return has, model.Errorf(model.Unfit, "%w; rolled back", err)
}

// with adds what a driver gives. Errors are in Docker's words.
func (i Interface) with(given wireInterface) (Interface, error) {
	if given.MacAddress != "" {
		mac, err := net.ParseMAC(given.MacAddress)
		switch {
		case err != nil || len(mac) != 6:
			return i, fmt.Errorf("address %s: invalid MAC address", plugins.Said(given.MacAddress))
		case i.MAC != "":
			return i, fmt.Errorf("driver modified interface MAC address: endpoint interface MAC address present (%s). Cannot be modified with %s.", i.MAC, mac)
		}
		i.MAC = mac.String()
	}
	for _, text := range []string{given.Address, given.AddressIPv6} {
		if text == "" {
			continue
		}
		p, err := parsePrefix(text)
		if err != nil {
			return i, err
		}
		mine := &i.Addr4
		if p.Addr().Is6() {
			mine = &i.Addr6
		}
		if mine.IsValid() {
			return i, fmt.Errorf("driver modified interface address: endpoint interface IP present (%s). Cannot be modified with (%s).", *mine, p)
		}
		*mine = p
	}
	return i, nil
}

// parsePrefix reads an address with the length of its subnet.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("invalid CIDR address: %s", plugins.Said(text))
	}
	return p, nil
}

// DeleteEndpoint tells that an endpoint is gone.
func (d Driver) DeleteEndpoint(ctx context.Context, at EndpointAt) error {
	return d.call(ctx, "DeleteEndpoint", at, &answer{})
}

// EndpointInfo asks what the driver has to tell of an endpoint.
func (d Driver) EndpointInfo(ctx context.Context, at EndpointAt) (Options, error) {
	var a struct {
		answer
		Value Options
	}
	err := d.call(ctx, "EndpointOperInfo", at, &a)
	return a.Value, err
}

// maxRoutes bounds what one endpoint can bring.
const maxRoutes = 1024

// Join is how an endpoint is put into a container.
type Join struct {
	Link, Prefix       string
	Gateway4, Gateway6 netip.Addr
	Routes             []facts.Route
	Alone              bool
}

// Join puts an endpoint into the container whose namespace is at the path.
func (d Driver) Join(ctx context.Context, at EndpointAt, path string, options Options) (Join, error) {
	var a joinAnswer
	err := d.call(ctx, "Join", struct {
		EndpointAt
		SandboxKey string
		Options    Options
	}{at, path, options}, &a)
	if err != nil {
		return Join{}, err
	}
	j, err := a.read()
	if err == nil {
		return j, nil
	}
	if undo := d.Leave(ctx, at); undo != nil {
		return j, model.Errorf(model.Unfit, "%w; failed to roll back: %w", undo, err)
	}
	return j, model.Errorf(model.Unfit, "%w; rolled back", err)
}

type joinAnswer struct {
	answer
	InterfaceName         *struct{ SrcName, DstPrefix string }
	Gateway, GatewayIPv6  string
	StaticRoutes          []wireRoute
	DisableGatewayService bool
}

// wireRoute is a route; a RouteType of 0 has a next hop, 1 is directly connected.
type wireRoute struct {
	Destination string
	RouteType   int
	NextHop     string
}

// read checks a Join answer. Errors are in Docker's words.
func (a joinAnswer) read() (Join, error) {
	out := Join{Alone: a.DisableGatewayService}
	if a.InterfaceName != nil {
		out.Link, out.Prefix = a.InterfaceName.SrcName, a.InterfaceName.DstPrefix
	}
	for _, gw := range []struct {
		name, text string
		to         *netip.Addr
	}{{"Gateway", a.Gateway, &out.Gateway4}, {"GatewayIPv6", a.GatewayIPv6, &out.Gateway6}} {
		if gw.text == "" {
			continue
		}
		addr, err := netip.ParseAddr(gw.text)
		if err != nil || addr.Is4() != (gw.to == &out.Gateway4) || addr.Zone() != "" {
			return out, fmt.Errorf("unable to parse %s %q", gw.name, plugins.Said(gw.text))
		}
		*gw.to = addr
	}
	if len(a.StaticRoutes) > maxRoutes {
		return out, fmt.Errorf("%d static routes: at most %d are possible", len(a.StaticRoutes), maxRoutes)
	}
	for _, r := range a.StaticRoutes {
		route, err := r.read()
		if err != nil {
			return out, err
		}
		out.Routes = append(out.Routes, route)
	}
	return out, nil
}

func (r wireRoute) read() (facts.Route, error) {
	p, err := parsePrefix(r.Destination)
	if err != nil {
		return facts.Route{}, err
	}
	out := facts.Route{Destination: p.Masked()}
	if r.RouteType == 0 && r.NextHop != "" {
		if out.Via, err = netip.ParseAddr(r.NextHop); err != nil || out.Via.Is4() != p.Addr().Is4() || out.Via.Zone() != "" {
			return out, fmt.Errorf("failed to parse nexthop IP %s", plugins.Said(r.NextHop))
		}
	}
	return out, nil
}

// Leave takes an endpoint out of its container.
func (d Driver) Leave(ctx context.Context, at EndpointAt) error {
	return d.call(ctx, "Leave", at, &answer{})
}

// Program tells that a container leaves by an endpoint, and which ports are published
// there. A driver need not know the call.
func (d Driver) Program(ctx context.Context, at EndpointAt, options Options) error {
	return optional(d.call(ctx, "ProgramExternalConnectivity", struct {
		EndpointAt
		Options Options
	}{at, options}, &answer{}))
}

// Revoke takes Program back.
func (d Driver) Revoke(ctx context.Context, at EndpointAt) error {
	return optional(d.call(ctx, "RevokeExternalConnectivity", at, &answer{}))
}

func optional(err error) error {
	if plugins.Lacks(err) {
		return nil
	}
	return err
}

// Node is a host of a cluster.
type Node struct {
	Address, BindAddress string
	Self                 bool
}

// nodeDiscovery is the kind of what is discovered; there is one.
const nodeDiscovery = 1

type discovery struct {
	DiscoveryType int
	DiscoveryData Node
}

// Discovered tells of a host that has joined a cluster; gone, of one that has left.
func (d Driver) Discovered(ctx context.Context, n Node, gone bool) error {
	method := "DiscoverNew"
	if gone {
		method = "DiscoverDelete"
	}
	return d.call(ctx, method, discovery{nodeDiscovery, n}, &answer{})
}

// hasControl tells whether a text cannot be a name of anything.
func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}
