package model

import (
	"net/netip"
	"slices"
)

// DriverOverlay is the driver of networks that reach over the hosts of a swarm.
const DriverOverlay = "overlay"

// Overlay tells whether containers on other hosts are on the network, too. By itself it
// leads them nowhere else.
func (n Network) Overlay() bool { return n.Driver == DriverOverlay && !n.ConfigOnly }

// overlayPrefix begins the names of namespaces of networks over hosts: no container's ID
// begins so.
const overlayPrefix = "ov-"

// OverlayNamespace is the name, below NetnsDir, of a network's namespace on each host.
func OverlayNamespace(id NetworkID) string { return overlayPrefix + Short(id) }

// IngressSandbox returns the sandbox that stands for the namespace of an ingress network,
// as Docker calls it.
func IngressSandbox(n NetworkID) Sandbox {
	return Sandbox{ID: SandboxID("ingress-" + n), Container: ContainerID(OverlayNamespace(n)), Name: "ingress-sbox", Ingress: n}
}

// What labels of a service say of the ports that all hosts publish for it.
const (
	// LabelIngressPolicy is which tasks a host leads to: "cluster", those of all hosts, as with Docker and without the
	// label; or "local", its own.
	LabelIngressPolicy = "com.linkspan.ingress.policy"
	// LabelIngressAffinity is what a client's task follows from: "none", its turn, as with Docker and without the label;
	// or "source", the client's address.
	LabelIngressAffinity = "com.linkspan.ingress.affinity"
)

// IngressOptions reads what a service's labels say of its ports. Its error is Invalid, and names what can be chosen.
func IngressOptions(labels map[string]string) (local, sticky bool, err error) {
	if local, err = oneOfTwo(labels, LabelIngressPolicy, "cluster", "local"); err != nil {
		return false, false, err
	}
	sticky, err = oneOfTwo(labels, LabelIngressAffinity, "none", "source")
	return local, sticky, err
}

// oneOfTwo tells whether a label has its second value. Without it, it has the first.
func oneOfTwo(labels map[string]string, label, first, second string) (bool, error) {
	switch value, said := labels[label]; {
	case !said || value == first:
		return false, nil
	case value == second:
		return true, nil
	default:
		return false, Errorf(Invalid, "label %s is %q: it can be %q or %q", label, value, first, second)
	}
}

// Remote is an endpoint on another host of the swarm, as its host told of it.
type Remote struct {
	Network  NetworkID
	Endpoint EndpointID
	Node     string     // the ID of its node
	Host     string     // the name of its node
	VTEP     netip.Addr // where its host receives VXLAN packets
	Addrs    []netip.Addr
	// Names are what it answers to; the first is the one that a PTR query gets.
	Names []string
	// Service is what it stands for, if its container runs a service's task; and Serving
	// says that the container is ready for requests.
	Service *ServiceEndpoint `json:",omitempty"`
	Serving bool             `json:",omitempty"`
	// PublicKey is its host's key in the tunnel of encrypted networks (ValidKey); empty on
	// other networks.
	PublicKey string `json:",omitempty"`
	// Gate says that it is no endpoint but the host itself, by which connections to published
	// ports come in. It has no addresses, and no names.
	Gate bool `json:",omitempty"`
}

// Equal tells whether two stand for the same; nil is nothing at all.
func (s *ServiceEndpoint) Equal(o *ServiceEndpoint) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Service == o.Service && s.Name == o.Name && s.Task == o.Task &&
		slices.Equal(s.VIPs, o.VIPs) && slices.Equal(s.Aliases, o.Aliases) && slices.Equal(s.Ingress, o.Ingress)
}
