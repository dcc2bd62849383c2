package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// add answers ADD.
func (c Call) add(ctx context.Context, r request) error {
	before, err := r.previous()
	if err != nil {
		return err
	}
	ask, err := r.attach()
	if err != nil {
		return err
	}
	got, err := r.daemon.Attach(ctx, ask)
	if err != nil {
		return r.refused(err)
	}
	result, err := r.result(before, got).GetAsVersion(r.CNIVersion)
	if err != nil {
		return types.NewError(types.ErrIncompatibleCNIVersion, "the result cannot be said in version "+r.CNIVersion, err.Error())
	}
	return result.PrintTo(c.Stdout)
}

// refused gives the refusal of an attachment its code: whose fault it is.
func (r request) refused(err error) error {
	explained := r.explain(err)
	e, ok := explained.(*types.Error) //nolint:errorlint // it was made there
	if !ok || model.KindOf(err) != model.NotFound {
		return explained
	}
	if e.Code = codeNoNetwork; e.Msg == "there is no network namespace at "+r.namespace {
		e.Code, e.Details = types.ErrUnknownContainer, "CNI_NETNS="+r.namespace
	} else if e.Details == "" {
		e.Details = "create it: docker network create " + r.network()
	}
	return e
}

// previous returns the result of the plugin before this one; an empty one if there is
// none.
func (r request) previous() (*types100.Result, error) {
	if !given(r.PrevResult) {
		return &types100.Result{}, nil
	}
	if err := noNulls(r.PrevResult); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "prevResult cannot be read", err.Error())
	}
	parsed, err := create.Create(r.CNIVersion, r.PrevResult)
	if err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "prevResult cannot be read", err.Error())
	}
	result, err := types100.NewResultFromResult(parsed)
	if err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "prevResult cannot be read", err.Error())
	}
	return result, nil
}

// noNulls refuses lists with nothing in a place: those who convert results between
// versions do not expect it.
func noNulls(raw json.RawMessage) error {
	var lists struct{ Interfaces, IPs, Routes []json.RawMessage }
	if err := json.Unmarshal(raw, &lists); err != nil {
		return err
	}
	for _, one := range slices.Concat(lists.Interfaces, lists.IPs, lists.Routes) {
		if string(one) == "null" {
			return errors.New("an interface, address or route is null")
		}
	}
	return nil
}

// result adds an attachment to what plugins before have made.
func (r request) result(out *types100.Result, a privateapi.Attachment) *types100.Result {
	out.CNIVersion = types100.ImplementedSpecVersion
	if r.CNIVersion != latest { // the field came with it
		a.MTU = 0
	}
	if a.Bridge != "" {
		out.Interfaces = append(out.Interfaces, &types100.Interface{Name: a.Bridge, Mac: a.BridgeMAC, Mtu: a.MTU})
	}
	if a.Port != "" {
		out.Interfaces = append(out.Interfaces, &types100.Interface{Name: a.Port, Mtu: a.MTU})
	}
	inside := len(out.Interfaces)
	out.Interfaces = append(out.Interfaces, &types100.Interface{Name: a.Interface, Mac: a.MAC, Mtu: a.MTU, Sandbox: r.namespace})
	for _, addr := range a.Addresses {
		ip := &types100.IPConfig{Interface: types100.Int(inside), Address: ipNet(addr.Address)}
		if addr.Gateway.IsValid() {
			ip.Gateway = addr.Gateway.AsSlice()
		}
		out.IPs = append(out.IPs, ip)
	}
	for _, route := range a.Routes {
		one := &types.Route{Dst: ipNet(route.Destination)}
		if route.Gateway.IsValid() {
			one.GW = route.Gateway.AsSlice()
		}
		out.Routes = append(out.Routes, one)
	}
	out.DNS = r.dns(out.DNS, a)
	return out
}

// dns is what the runtime may write into resolv.conf: our server, if the network has
// names, and what the configuration says besides. Where our server is, it asks the
// others itself.
func (r request) dns(before types.DNS, a privateapi.Attachment) types.DNS {
	out := before
	if len(r.DNS.Nameservers) > 0 {
		out.Nameservers = r.DNS.Nameservers
	}
	if len(r.Runtime.DNS.Servers) > 0 {
		out.Nameservers = r.Runtime.DNS.Servers
	}
	if len(a.DNS) > 0 {
		out.Nameservers = nil
		for _, server := range a.DNS {
			out.Nameservers = append(out.Nameservers, server.String())
		}
	}
	if r.DNS.Domain != "" {
		out.Domain = r.DNS.Domain
	}
	out.Search = append(append(out.Search, r.DNS.Search...), r.Runtime.DNS.Searches...)
	out.Options = append(append(out.Options, r.DNS.Options...), r.Runtime.DNS.Options...)
	return out
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// check answers CHECK: what the result of ADD says of this interface must be so.
func (c Call) check(ctx context.Context, r request) error {
	if !given(r.PrevResult) {
		return badConfig("CHECK needs prevResult, which is missing")
	}
	result, err := r.previous()
	if err != nil {
		return err
	}
	ask := privateapi.Check{Ref: r.ref()}
	ask.Namespace = r.namespace
	at := -1
	for i, l := range result.Interfaces {
		if l.Name == r.ifname && l.Sandbox == r.namespace {
			ask.MAC, at = l.Mac, i
		}
	}
	if at < 0 {
		return badConfig(fmt.Sprintf("prevResult has no interface %s in %s", r.ifname, r.namespace))
	}
	for _, ip := range result.IPs {
		if ip.Interface == nil || *ip.Interface != at {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			bits, _ := ip.Address.Mask.Size()
			ask.Addresses = append(ask.Addresses, netip.PrefixFrom(a.Unmap(), bits))
		}
	}
	err = r.daemon.Check(ctx, ask)
	explained := r.explain(err)
	if e, ok := explained.(*types.Error); ok && model.KindOf(err) == model.NotFound { //nolint:errorlint // it was made there
		e.Code = types.ErrUnknownContainer
	}
	return explained
}
