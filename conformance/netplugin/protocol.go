package netplugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// Roles of plugins.
const (
	NetworkRole = "NetworkDriver"
	IPAMRole    = "IpamDriver"
)

// mimeType is what both ends say that they speak, up to a minor version.
const mimeType = "application/vnd.docker.plugins.v1"

const (
	activate = "Plugin.Activate"
	network  = NetworkRole + "."
	ipam     = IPAMRole + "."

	optionAddressType = "RequestAddressType"
	optionGateway     = "com.docker.network.gateway"
	optionMAC         = "com.docker.network.endpoint.macaddress"
)

// Limits of what is read.
const (
	maxBody = 4 << 20
	maxName = 15 // of an interface (IFNAMSIZ)
)

// object is what every request and answer is, as far as nothing more is known of it.
type object map[string]json.RawMessage

// put adds a member. What cannot be written as JSON is left out.
func (o object) put(key string, value any) object {
	if raw, err := json.Marshal(value); err == nil {
		o[key] = raw
	}
	return o
}

// one is an object of one member.
func one(key string, value any) object { return object{}.put(key, value) }

type poolData struct {
	AddressSpace string
	Pool         string            `json:",omitempty"`
	Gateway      string            `json:",omitempty"`
	AuxAddresses map[string]string `json:",omitempty"`
}

type createNetwork struct {
	NetworkID          string
	Options            object
	IPv4Data, IPv6Data []poolData
}

type networkInterface struct{ Address, AddressIPv6, MacAddress string }

type createEndpoint struct {
	NetworkID, EndpointID string
	Interface             *networkInterface
	Options               object
}

// endpointCall is what comes with every other call about an endpoint.
type endpointCall struct {
	NetworkID, EndpointID, SandboxKey string
	Options                           object
}

type discovery struct {
	DiscoveryType int
	DiscoveryData struct{ Address string }
}

type requestPool struct {
	AddressSpace, Pool, SubPool string
	Options                     map[string]string
	V6                          bool
}

type poolCall struct {
	PoolID, Address string
	Options         map[string]string
}

type poolAnswer struct {
	PoolID, Pool string
	Data         map[string]string
}

type addressAnswer struct{ Address string }

// decode reads an object; nothing at all is an empty one.
func decode(raw []byte, into any) error {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 {
		return nil
	}
	if raw[0] != '{' {
		return fmt.Errorf("it is no JSON object: %.60q", raw)
	}
	return json.Unmarshal(raw, into)
}

// refusal is what an answer says instead of doing something; empty if it does.
func refusal(status int, raw []byte) string {
	var said struct{ Err, Error string }
	_ = decode(raw, &said) //nolint:errcheck // what is no object says nothing
	switch text := said.Err + said.Error; {
	case text != "":
		return text
	case status != 200:
		return fmt.Sprintf("status %d: %.200s", status, strings.TrimSpace(string(raw)))
	}
	return ""
}

// cidr reads an address with the length of its subnet.
func cidr(what, text string, six bool) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%s %.60q is no address in CIDR form", what, text)
	}
	if p.Addr().Is6() != six {
		return p, fmt.Errorf("%s %s is of the other address family", what, p)
	}
	return p, nil
}
