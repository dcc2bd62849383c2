package ops

import (
	"fmt"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// GuestRequest asks for a namespace of somebody else's to join a network.
type GuestRequest struct {
	// Sandbox is the guest's, with its name and IDs, unless its namespace has one
	// already. Guest must be set.
	Sandbox  model.Sandbox
	Endpoint EndpointSpec
	Claim    model.Claim
}

// AttachGuest returns the op that has a guest join a network, at once.
func AttachGuest(r GuestRequest) Op {
	return func(tx Tx) error {
		n, err := tx.View().FindNetwork(r.Endpoint.Network)
		if err != nil {
			return err
		}
		if !tx.Drivers.Traits(n).Interface {
			return &model.Error{Op: "guest.attach", Subject: "network " + n.Name, Kind: model.Invalid,
				Err: fmt.Errorf("a network namespace cannot be attached to network %s: it has no interfaces", n.Name)}
		}
		sb := guestSandbox(tx, r.Sandbox)
		e, err := newEndpoint(sb, n, r.Endpoint)
		if err != nil {
			return err
		}
		if member(tx, sb, n) {
			return alreadyThere(sb, n)
		}
		if err := joinable(tx, sb, n); err != nil {
			return err
		}
		e.Order, e.Claim = nextOrder(tx, sb.ID), &r.Claim
		for _, spec := range r.Claim.Publish {
			if !slices.Contains(sb.Publish, spec) {
				sb.Publish = append(slices.Clip(sb.Publish), spec)
			}
		}
		tx.PutSandbox(sb)
		if err := attach(tx, e); err != nil {
			return err
		}
		if err := publish(tx, sb.ID); err != nil {
			return err
		}
		return publishesAll(tx, sb.ID, n, r.Claim.Publish)
	}
}

// guestSandbox returns the sandbox of a guest, up: the one that its namespace has
// already, or else this.
func guestSandbox(tx Tx, sb model.Sandbox) model.Sandbox {
	if have, ok := tx.View().SandboxOfGuest(*sb.Guest); ok {
		return have
	}
	sb.Mode, sb.Up, sb.Generation = model.SandboxOwn, true, 1
	sb.Pending, sb.Publish, sb.Ports, sb.Routed, sb.LinkedBy = nil, nil, nil, nil, nil
	return sb
}

// publishesAll refuses ports that no network of the guest publishes: who asks for one
// of a guest asks for nothing else.
func publishesAll(tx Tx, id model.SandboxID, n model.Network, specs []model.PortSpec) error {
	sb, _ := tx.View().Sandbox(id)
	for _, spec := range specs {
		leads := func(b model.PortBinding) bool {
			return b.Protocol == spec.Protocol && spec.Container.Contains(b.Container)
		}
		if !slices.ContainsFunc(sb.Ports, leads) && !slices.ContainsFunc(sb.Routed, leads) {
			return &model.Error{Op: "guest.attach", Subject: "network " + n.Name, Kind: model.Unfit,
				Err: fmt.Errorf("port %s/%s cannot be published: network %s (%s) publishes no ports of this address family", spec.Container, spec.Protocol, n.Name, n.Driver)}
		}
	}
	return nil
}

// DetachGuest returns the op that takes a guest off a network. Its last one takes along
// all that is known of it. An endpoint that is gone already is success.
func DetachGuest(id model.EndpointID) Op {
	return func(tx Tx) error {
		e, ok := tx.View().Endpoint(id)
		if !ok || e.Claim == nil {
			return nil
		}
		sb, err := sandboxNamed(tx, e.Sandbox)
		if err != nil {
			return err
		}
		tx.DeleteEndpoint(id)
		sb.Publish = nil
		left := tx.View().EndpointsInOrder(sb.ID)
		if len(left) == 0 {
			return RemoveSandbox(sb.ID)(tx)
		}
		for _, other := range left {
			for _, spec := range other.Claim.Publish {
				if !slices.Contains(sb.Publish, spec) {
					sb.Publish = append(sb.Publish, spec)
				}
			}
		}
		tx.PutSandbox(sb)
		return publish(tx, sb.ID)
	}
}

// ForgetGuests returns the op that removes the guests of an earlier boot: no namespace
// outlives one. Nothing is removed where it is not known which boot this is.
func ForgetGuests() Op {
	return func(tx Tx) error {
		boot := tx.Facts().Host.BootID
		for sb := range tx.View().Sandboxes() {
			if sb.Guest == nil || boot == "" || sb.Guest.Boot == boot {
				continue
			}
			if err := RemoveSandbox(sb.ID)(tx); err != nil {
				return err
			}
		}
		return nil
	}
}
