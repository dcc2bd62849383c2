package inspect

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/bpf"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/packetfilter"
	"github.com/linkspan/linkspan/internal/state"
)

// Capture is what is to be captured: where, and which frames.
type Capture struct {
	Taps   []facts.Tap
	filter packetfilter.Filter
}

// Program returns which frames are wanted at the places that the taps have become, of which
// up to snapLen bytes are kept.
func (c Capture) Program(places []facts.Place, snapLen int) ([]bpf.Instruction, error) {
	return c.filter.Compile(places, snapLen)
}

// Prefixes by which a user says which of two of one name is meant.
const (
	containerPrefix = "container:"
	networkPrefix   = "network:"
)

// Capture returns what is to be captured at a container or network, by its name or ID;
// "container:NAME" and "network:NAME" where both are called so. A container's name in the
// filter stands for its addresses. Errors: NotFound, Conflict, Invalid.
//
// A container is heard at all of its interfaces. On a network each frame is heard once: where
// it comes from its container, or from the host or another host, if there is such a place.
func (r *Reader) Capture(ctx context.Context, target, filter string) (Capture, error) {
	s := r.o.Engine.Snapshot()
	f, err := packetfilter.Parse(filter, func(name string) []netip.Addr { return r.addresses(ctx, s, name) })
	if err != nil {
		return Capture{}, err
	}
	taps, err := r.taps(ctx, s, target)
	return Capture{taps, f}, err
}

func (r *Reader) taps(ctx context.Context, s *state.Snapshot, target string) ([]facts.Tap, error) {
	if name, ok := strings.CutPrefix(target, containerPrefix); ok {
		return r.containerTaps(ctx, s, name)
	}
	if name, ok := strings.CutPrefix(target, networkPrefix); ok {
		return r.networkTaps(s, name)
	}
	ofContainer, noContainer := r.containerTaps(ctx, s, target)
	ofNetwork, noNetwork := r.networkTaps(s, target)
	isContainer, isNetwork := model.KindOf(noContainer) != model.NotFound, model.KindOf(noNetwork) != model.NotFound
	switch {
	case isContainer && isNetwork:
		return nil, &model.Error{Kind: model.Conflict, Err: fmt.Errorf("%s is a container and a network", target),
			Way: fmt.Sprintf("write %s%s or %s%s", containerPrefix, target, networkPrefix, target)}
	case isContainer:
		return ofContainer, noContainer
	case isNetwork:
		return ofNetwork, noNetwork
	}
	return nil, model.Errorf(model.NotFound, "there is no container and no network %s", target)
}

// containerTaps are all interfaces of a container: the host's ends, which it cannot touch,
// where it has some.
func (r *Reader) containerTaps(ctx context.Context, s *state.Snapshot, ref string) (out []facts.Tap, err error) {
	sb, err := r.sandbox(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	if sb.Mode != model.SandboxOwn {
		return nil, model.Errorf(model.Conflict, "container %s is on the host's own network: capture there (tcpdump -i any)", sb.Name)
	}
	for _, e := range s.EndpointsInOrder(sb.ID) {
		for _, l := range r.linksOf(e) {
			tap := end(l)
			tap.Incoming, tap.Outgoing, tap.Description = true, true, describe(s, sb, e)
			out = append(out, tap)
		}
	}
	if len(out) == 0 {
		return nil, model.Errorf(model.Conflict, "container %s has no interface: it does not run, or is on no network", sb.Name)
	}
	return out, nil
}

// networkTaps are where each frame of a network is heard once.
func (r *Reader) networkTaps(s *state.Snapshot, ref string) (out []facts.Tap, err error) {
	n, err := s.FindNetwork(ref)
	if err != nil {
		return nil, err
	}
	for row := range r.o.Engine.Plan().Owned(desired.OwnerOf("network", n.ID)) {
		l, ok := row.(desired.Link)
		if !ok {
			continue
		}
		tap := facts.Tap{Namespace: l.Namespace, Link: l.Name}
		switch l.Type {
		case desired.LinkBridge: // from the host, and by it from elsewhere
			tap.Outgoing, tap.Description = true, "the host, to network "+n.Name
		case desired.LinkVXLAN:
			tap.Incoming, tap.Description = true, "other hosts, to network "+n.Name
		default:
			continue
		}
		out = append(out, tap)
	}
	for e := range s.EndpointsOn(n.ID) {
		sb, _ := s.Sandbox(e.Sandbox)
		for _, l := range r.linksOf(e) {
			tap := end(l)
			tap.Incoming, tap.Outgoing, tap.Description = true, l.Peer == nil, describe(s, sb, e)
			out = append(out, tap)
		}
	}
	slices.SortFunc(out, func(a, b facts.Tap) int {
		return cmp.Or(cmp.Compare(a.Description, b.Description), cmp.Compare(a.Link, b.Link))
	})
	if len(out) == 0 {
		return nil, model.Errorf(model.Conflict, "network %s has no interface on this host: no container runs on it", n.Name)
	}
	return out, nil
}

// linksOf are the links that are planned for an endpoint.
func (r *Reader) linksOf(e model.Endpoint) (out []desired.Link) {
	for row := range r.o.Engine.Plan().Owned(desired.OwnerOf("endpoint", e.ID)) {
		if l, ok := row.(desired.Link); ok {
			out = append(out, l)
		}
	}
	return out
}

// end is the host's end of a veth pair, or else the interface itself.
func end(l desired.Link) facts.Tap { return facts.Tap{Namespace: l.Namespace, Link: l.Name} }

func describe(s *state.Snapshot, sb model.Sandbox, e model.Endpoint) string {
	n, _ := s.Network(e.Network)
	return fmt.Sprintf("container %s (%s), %s on network %s", sb.Name, model.Short(sb.Container), e.Interface, n.Name)
}

// addresses are those of a container that runs.
func (r *Reader) addresses(ctx context.Context, s *state.Snapshot, ref string) (out []netip.Addr) {
	sb, err := r.sandbox(ctx, s, ref)
	if err != nil {
		return nil
	}
	for e := range s.EndpointsOf(sb.ID) {
		for _, f := range model.Families {
			if a := e.Address(f); a.IsValid() && e.Up {
				out = append(out, a)
			}
		}
	}
	return out
}
