// Package ports decides which host ports lead to which container ports.
//
// It promises that a range stays a range: what clients spell out port by port is
// put together again, and everything behind works on stretches. It is pure; who
// has which port is asked of the caller, and nothing is opened here.
package ports

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// Asked is one publication as the API has it: a single container port, and
// where it shall be found.
type Asked struct {
	Container uint16
	Protocol  model.Protocol
	Host      netip.Addr // invalid: not said
	HostPort  string     // "", "0" (any), "8080", or "8000-8010" (any of these)
}

// Parse puts publications together to ranges and returns them in the order in
// which host ports are chosen: exact ones first, in case they lie within others'
// ranges; those that can be anywhere last. What is asked twice is given once.
// Errors are Invalid, in Docker's words.
func Parse(asked []Asked) ([]model.PortSpec, error) {
	specs := make([]model.PortSpec, 0, len(asked))
	for _, a := range asked {
		spec, err := parse(a)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	slices.SortFunc(specs, mergeOrder)
	specs = merge(slices.Compact(specs))
	slices.SortFunc(specs, choiceOrder)
	return specs, nil
}

func parse(a Asked) (model.PortSpec, error) {
	if rank(a.Protocol) == len(protocols) || a.Container == 0 {
		return model.PortSpec{}, invalid(strconv.Itoa(int(a.Container)) + "/" + string(a.Protocol))
	}
	host, err := ParseHostPorts(a.HostPort)
	if err != nil {
		return model.PortSpec{}, err
	}
	addr := a.Host.Unmap()
	if addr.Zone() != "" || addr.IsMulticast() {
		return model.PortSpec{}, model.Errorf(model.Invalid, "invalid host address of a published port: %s", addr)
	}
	return model.PortSpec{Protocol: a.Protocol, Container: model.Port(a.Container), Host: addr, HostPorts: host}, nil
}

// ParseHostPorts reads the host's side of a publication: "" and "0" are any
// port, which is the zero value.
func ParseHostPorts(text string) (model.PortRange, error) {
	if text == "" || text == "0" {
		return model.PortRange{}, nil
	}
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || low == 0 || high < low {
		return model.PortRange{}, invalid(text)
	}
	return model.PortRange{First: uint16(low), Last: uint16(high)}, nil
}

func invalid(text string) error {
	return model.Errorf(model.Invalid, "invalid port specification: %q", text)
}

var protocols = [...]model.Protocol{model.TCP, model.UDP, model.SCTP}

// rank orders protocols as Docker does; unknown ones come last.
func rank(p model.Protocol) int {
	for i, known := range protocols {
		if p == known {
			return i
		}
	}
	return len(protocols)
}

// extent tells how a specification goes on: exact ports by the distance between
// the two sides, so that neighbours stand together.
func extent(s model.PortSpec) (class, distance int) {
	switch {
	case s.HostPorts.IsZero():
		return 2, 0
	case !s.Fixed():
		return 1, 0
	}
	return 0, int(s.HostPorts.First) - int(s.Container.First)
}

// mergeOrder puts what can become one range next to one another.
func mergeOrder(a, b model.PortSpec) int {
	classA, distanceA := extent(a)
	classB, distanceB := extent(b)
	return cmp.Or(
		cmp.Compare(rank(a.Protocol), rank(b.Protocol)),
		a.Host.Compare(b.Host),
		cmp.Compare(classA, classB),
		cmp.Compare(distanceA, distanceB),
		cmp.Compare(a.Container.First, b.Container.First),
		cmp.Compare(a.HostPorts.First, b.HostPorts.First),
		cmp.Compare(a.HostPorts.Last, b.HostPorts.Last),
	)
}

// merge joins neighbours. Choices among several ports stay by themselves: each
// of them is made anew.
func merge(specs []model.PortSpec) []model.PortSpec {
	var out []model.PortSpec
	for _, s := range specs {
		if n := len(out) - 1; n >= 0 && follows(out[n], s) {
			out[n].Container.Last = s.Container.Last
			if !s.HostPorts.IsZero() {
				out[n].HostPorts.Last = s.HostPorts.Last
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

func follows(a, b model.PortSpec) bool {
	classA, distanceA := extent(a)
	classB, distanceB := extent(b)
	return classA != 1 && classA == classB && distanceA == distanceB && a.Protocol == b.Protocol && a.Host == b.Host &&
		int(a.Container.Last)+1 == int(b.Container.First)
}

// choiceOrder is the order in which host ports are chosen. What differs only in
// the host's address stands together: it gets the same port.
func choiceOrder(a, b model.PortSpec) int {
	classA, _ := extent(a)
	classB, _ := extent(b)
	return cmp.Or(
		cmp.Compare(classA, classB),
		cmp.Compare(a.Container.First, b.Container.First),
		cmp.Compare(rank(a.Protocol), rank(b.Protocol)),
		cmp.Compare(a.HostPorts.First, b.HostPorts.First),
		cmp.Compare(a.HostPorts.Last, b.HostPorts.Last),
		cmp.Compare(a.Container.Last, b.Container.Last),
		a.Host.Compare(b.Host),
	)
}

// Together tells whether two specifications differ in nothing but the host's
// address, and so get the same host ports.
func Together(a, b model.PortSpec) bool {
	a.Host, b.Host = netip.Addr{}, netip.Addr{}
	return a == b
}
