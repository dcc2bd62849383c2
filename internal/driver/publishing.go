package driver

import (
	"fmt"
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Publisher is a Driver whose containers' ports can be published.
type Publisher interface {
	// Publishing says how a network publishes ports. Errors are Invalid, in Docker's
	// words.
	Publishing(n model.Network) (Publishing, error)
	// Publish returns the rows of ports that lead to v.Endpoint, which is up.
	Publish(v View, ports []model.PortBinding) ([]desired.Row, error)
}

// Publishing is how a network publishes ports.
type Publishing struct {
	// Routed4 and Routed6 say that published ports are reached at the containers' own
	// addresses of that family, and never by the host's.
	Routed4, Routed6 bool
	// Host is where ports are published that do not say; 0.0.0.0 is every address
	// of both families that Policy allows.
	Host   netip.Addr
	Policy PublishPolicy
	// Socket says that ports are served from sockets of the host, and so those of
	// Forwardable protocols only.
	Socket bool
}

// Routed tells whether published ports are reached at addresses of family f of the
// containers only.
func (p Publishing) Routed(f model.Family) bool {
	if f == model.IPv4 {
		return p.Routed4
	}
	return p.Routed6
}

// OptionRespect says, on a network, whose firewall judges its published ports: with
// RespectHost they are served from sockets of the host, so that the rules of its
// administrator in the hook input see them as they see any other server.
const OptionRespect = "com.linkspan.firewall.respect"

// The values of OptionRespect.
const (
	RespectNone = "none" // as with Docker; the default
	RespectHost = "host"
)

// OptionPublish says where a network's ports are published that name no address of the
// host, if the network has no address for them: a PublishPolicy.
const OptionPublish = "com.linkspan.publish"

// PublishPolicy is to which addresses of the host ports are published that name none.
// What names one is published there, whatever the policy.
type PublishPolicy string

// The policies.
const (
	PublishAny       PublishPolicy = "any"       // all, as with Docker; the default, and so is none
	PublishPrivate   PublishPolicy = "private"   // localhost, and those that the host has of RFC 1918 and RFC 4193
	PublishLocalhost PublishPolicy = "localhost" // 127.0.0.1 and ::1
)

// ParsePublishPolicy reads a policy. Its error is Invalid, and names what can be chosen.
func ParsePublishPolicy(text string) (PublishPolicy, error) {
	switch p := PublishPolicy(text); p {
	case PublishAny, PublishPrivate, PublishLocalhost:
		return p, nil
	}
	return "", &model.Error{Kind: model.Invalid, Err: fmt.Errorf("invalid publish policy: %.64q", text),
		Way: fmt.Sprintf("choose %s, %s or %s", PublishAny, PublishPrivate, PublishLocalhost)}
}

// Hosts returns where to publish in family f on a host that has the addresses own.
func (p PublishPolicy) Hosts(f model.Family, own []netip.Addr) []netip.Addr {
	if p != PublishPrivate && p != PublishLocalhost {
		return []netip.Addr{f.Unspecified()}
	}
	out := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if f == model.IPv6 {
		out[0] = netip.IPv6Loopback()
	}
	for _, a := range own {
		if p == PublishPrivate && model.FamilyOf(a) == f && a.IsPrivate() {
			out = append(out, a)
		}
	}
	return out
}

// Allows tells whether the policy would publish at an address by itself, if the host
// has it.
func (p PublishPolicy) Allows(a netip.Addr) bool {
	switch p {
	case PublishPrivate:
		return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
	case PublishLocalhost:
		return a.IsLoopback()
	}
	return true
}
