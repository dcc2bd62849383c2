// Package privateapi has the words of the daemon's private socket that programs of ours
// speak, as JSON, and the client that they speak them with: how network namespaces that
// are not containers' are attached to networks.
//
//	POST   /linkspan/v1/attachments          Request ─▶ Attachment
//	GET    /linkspan/v1/attachments          Ref (as a query) ─▶ []Attachment
//	DELETE /linkspan/v1/attachments          Ref (as a query)
//	POST   /linkspan/v1/attachments/check    Check
//	POST   /linkspan/v1/attachments/collect  Collect ─▶ Collected
//	GET    /linkspan/v1/attachments/ready    ?network=
//
// An error is a line of text or more, with the status of its kind. The package decides
// nothing.
package privateapi

import (
	"net/netip"
	"net/url"
)

// Request asks for a network namespace to join a network.
type Request struct {
	Namespace string // path of its file, as the daemon sees it
	Network   string // name or ID
	// Door is by which it comes ("cni", "attach"); Config and Container are CNI's names
	// for the network configuration and the container.
	Door, Config, Container string
	Name, Hostname          string // by which others on the network find it
	Interface               string // its name inside; empty: the lowest free one
	MAC                     string
	Addresses               []netip.Addr // at most one of each family
	Aliases                 []string
	Publish                 []Port
	Priority                int               // among its networks, for the way out
	DriverOpts              map[string]string `json:",omitempty"`
}

// Port is a port of the host that leads to one of the namespace. HostPort 0 is any that
// is free; Host is empty for the default of the network.
type Port struct {
	Host                    string
	HostPort, ContainerPort uint16
	Protocol                string // "tcp" if empty
}

// Ref says which attachments are meant: those that have all that is given.
type Ref struct {
	Door, Config, Container, Interface string
	Namespace                          string // path, or that at which it was found first
	Network                            string
}

func (r *Ref) fields() map[string]*string {
	return map[string]*string{
		"door": &r.Door, "config": &r.Config, "container": &r.Container, "interface": &r.Interface, "namespace": &r.Namespace, "network": &r.Network,
	}
}

// Query returns the reference in the form that a URL has it in.
func (r Ref) Query() url.Values {
	out := url.Values{}
	for name, field := range r.fields() {
		if *field != "" {
			out.Set(name, *field)
		}
	}
	return out
}

// RefOf reads the reference in a URL. Of a field that is there twice the first counts.
func RefOf(q url.Values) Ref {
	var r Ref
	for name, field := range r.fields() {
		*field = q.Get(name)
	}
	return r
}

// Attachment is a namespace on a network, as it is.
type Attachment struct {
	ID        string // of the endpoint
	Sandbox   string // the name of the namespace below /run/netns
	Namespace string // path at which it was found
	Network   string
	NetworkID string
	Driver    string
	Door      string
	Config    string `json:",omitempty"`
	Container string `json:",omitempty"`
	Name      string
	Interface string // inside
	MAC       string
	MTU       int    // bytes; 0 if it is the kernel's default
	Bridge    string `json:",omitempty"` // on the host, where the network has one
	BridgeMAC string `json:",omitempty"`
	Port      string `json:",omitempty"` // the host's end
	Addresses []Address
	Routes    []Route
	// DNS are the name servers that answer names of the network, inside; none if it has
	// no names.
	DNS   []netip.Addr
	Ports []Binding `json:",omitempty"`
}

// Address is an address of the interface, and the network's gateway in its family.
type Address struct {
	Address netip.Prefix
	Gateway netip.Addr
}

// Route is one that the attachment has brought.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
}

// Binding is a port of the host that leads inside.
type Binding struct {
	Protocol                string
	Host                    netip.Addr
	HostPort, ContainerPort uint16 // the first of Count
	Count                   int
}

// Check asks whether an attachment is as it is to be.
type Check struct {
	Ref
	// MAC and Addresses are what its interface must have; empty: what it was given.
	MAC       string
	Addresses []netip.Prefix
}

// Collect asks for all attachments of a network configuration of CNI to be removed but
// these.
type Collect struct {
	Config string
	Valid  []Ref // Container and Interface count
}

// Collected says what Collect has removed.
type Collected struct{ Removed []Attachment }
