package dockerapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"text/tabwriter"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// dropped is what port security has dropped of one kind from one container.
type dropped struct {
	driver.Attached
	facts.PortDrops
}

// droppedOf returns who sent what was dropped, ordered by container and network;
// kinds as they are read. Ports that are gone are left out.
func droppedOf(s *state.Snapshot, drivers driver.Set, drops []facts.PortDrops) (out []dropped) {
	if len(drops) == 0 {
		return nil
	}
	ports := drivers.ByPort(s)
	for _, d := range drops {
		if a, ok := ports[d.Port]; ok {
			out = append(out, dropped{a, d})
		}
	}
	slices.SortStableFunc(out, func(a, b dropped) int {
		return cmp.Or(cmp.Compare(a.Sandbox.Name, b.Sandbox.Name), cmp.Compare(a.Network.Name, b.Network.Name), cmp.Compare(a.Endpoint.ID, b.Endpoint.ID))
	})
	return out
}

// drops lists what port security has dropped: who sent it, where, and what may be
// done.
func (d *debugServer) drops(w http.ResponseWriter, r *http.Request) {
	t, err := d.counters(r.Context())
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	var out bytes.Buffer
	columns := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, "CONTAINER\tID\tNETWORK\tINTERFACE\tSECURITY\tNET_ADMIN\tKIND\tFRAMES\tBYTES\tWHAT IT SENDS")
	all := droppedOf(d.Engine.Snapshot(), d.Drivers, t.Drops)
	for _, x := range all {
		able := "no"
		if x.Sandbox.NetAdmin {
			able = "yes"
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", x.Sandbox.Name, model.Short(x.Sandbox.Container), x.Network.Name,
			x.Endpoint.Interface, x.Security, able, x.Kind, x.Packets, units.HumanSize(float64(x.Bytes)), driver.Explain(x.Kind))
	}
	columns.Flush() //nolint:errcheck // into memory
	d.text(w, r, out.String())
}

// endpointAnswer is what `linkspan port inspect` says of one membership.
type endpointAnswer struct {
	Network, NetworkID  string
	Interface, HostPort string
	MAC                 string
	Addresses           []netip.Addr
	PortSecurity        securityAnswer
	Dropped             []dropAnswer
}

// securityAnswer says how far a port is believed, and from what that follows.
type securityAnswer struct {
	Setting   driver.PortSecurity // of the endpoint, the network or by default
	NetAdmin  bool                // of the container
	Effective string              // "pinned", "capable" or "unchecked"
}

type dropAnswer struct {
	Kind          facts.DropKind
	What          string // it sends
	Frames, Bytes uint64
	WayOut        string
}

// inspect answers with everything that port security knows of one container, by its
// name or ID.
func (d *debugServer) inspect(w http.ResponseWriter, r *http.Request) {
	s := d.Engine.Snapshot()
	sb, err := d.sandboxFor(r, s)
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	t, err := d.counters(r.Context())
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	answer := []endpointAnswer{}
	for e := range s.EndpointsOf(sb.ID) {
		if a, ok := d.Drivers.AttachedTo(s, e); ok {
			answer = append(answer, d.endpoint(a, t.Drops))
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "    ")
	if err := encoder.Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	d.write(w, r, "application/json", out.Bytes())
}

// endpoint says what holds for a port: its policy as it stands in the plan.
func (d *debugServer) endpoint(a driver.Attached, drops []facts.PortDrops) endpointAnswer {
	out := endpointAnswer{
		Network: a.Network.Name, NetworkID: string(a.Network.ID), Interface: a.Endpoint.Interface, HostPort: a.Port, MAC: a.Endpoint.MAC,
		PortSecurity: securityAnswer{Setting: a.Security, NetAdmin: a.Sandbox.NetAdmin}, Dropped: []dropAnswer{},
	}
	if row, ok := d.Engine.Plan().Get(desired.Pin{Port: a.Port}.Key()); ok {
		pin, _ := row.Row.(desired.Pin)
		out.Addresses, out.PortSecurity.Effective = pin.Addrs, cmp.Or(string(pin.Mode), "pinned")
	}
	for _, x := range drops {
		if x.Port == a.Port {
			out.Dropped = append(out.Dropped, dropAnswer{
				Kind: x.Kind, What: driver.Explain(x.Kind), Frames: x.Packets, Bytes: x.Bytes,
				WayOut: driver.WayOut(x.Kind, a.Security, a.Sandbox.NetAdmin),
			})
		}
	}
	return out
}

func (d *debugServer) sandboxFor(r *http.Request, s *state.Snapshot) (model.Sandbox, error) {
	ref := r.PathValue("container")
	if d.Containers != nil {
		c, err := d.Containers.Inspect(r.Context(), ref)
		if err != nil {
			return model.Sandbox{}, err
		}
		ref = c.ID
	}
	if sb, ok := s.SandboxOf(model.ContainerID(ref)); ok {
		return sb, nil
	}
	return model.Sandbox{}, model.Errorf(model.NotFound, "container %s has no network of its own", ref)
}
