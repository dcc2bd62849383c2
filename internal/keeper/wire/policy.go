package wire

import (
	"encoding/json"
	"reflect"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Policy is a row of desired.KindPolicy: what the firewall does. A keeper restores the
// firewall by them while there is no daemon.
type Policy struct {
	Type string          `json:"type"` // see policyNames
	Body json.RawMessage `json:"body"`
}

// Firewall says which firewall a keeper restores.
type Firewall struct {
	Instance string `json:"instance"`       // marks tables as the engine's
	Backend  string `json:"backend"`        // "nftables" or "iptables"
	Off4     bool   `json:"off4,omitempty"` // no rules of the family
	Off6     bool   `json:"off6,omitempty"`
}

// policyNames are the types of policies by their names. Names are never changed.
func policyNames() []named[desired.Row] {
	return []named[desired.Row]{
		{desired.BridgePolicy{}, "bridge"},
		{desired.Masquerade{}, "masquerade"},
		{desired.ForwardDrop{}, "forward-drop"},
		{desired.AcceptMark{}, "accept-mark"},
		{desired.Direct{}, "direct"},
		{desired.DirectFrom{}, "direct-from"},
		{desired.DirectICMP{}, "direct-icmp"},
		{desired.Allow{}, "allow"},
		{desired.PortSecurity{}, "port-security"},
		{desired.Identity{}, "identity"},
		{desired.Elsewhere{}, "elsewhere"},
		{desired.Transparent{}, "transparent"},
		{desired.Publish{}, "publish"},
		{desired.Served{}, "served"},
	}
}

// packPolicy returns the wire form of a policy; false for one that has no name.
func packPolicy(row desired.Row) (*Policy, bool) {
	for _, p := range policyNames() {
		if reflect.TypeOf(p.kind) != reflect.TypeOf(row) {
			continue
		}
		body, err := json.Marshal(row)
		return &Policy{p.name, body}, err == nil
	}
	return nil, false
}

// unpack returns the policy. The error is that of a type that this release does not
// know.
func (p Policy) unpack() (desired.Row, error) {
	for _, known := range policyNames() {
		if known.name != p.Type {
			continue
		}
		row := reflect.New(reflect.TypeOf(known.kind))
		if err := json.Unmarshal(p.Body, row.Interface()); err != nil {
			return nil, model.Errorf(model.Invalid, "policy %s: %w", p.Type, err)
		}
		return row.Elem().Interface().(desired.Row), nil
	}
	return nil, model.Errorf(model.Invalid, "a policy of the unknown type %q", p.Type)
}
