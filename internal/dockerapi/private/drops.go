package private

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"text/tabwriter"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/model"
)

// drops lists what port security has dropped: who sent it, where, and what may be
// done.
func (d *server) drops(w http.ResponseWriter, r *http.Request) {
	t, err := d.reader.Traffic(r.Context())
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	if asJSON(r) {
		d.json(w, r, dropAnswers(t.Drops))
		return
	}
	var out bytes.Buffer
	columns := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, "CONTAINER\tID\tNETWORK\tINTERFACE\tSECURITY\tNET_ADMIN\tKIND\tFRAMES\tBYTES\tWHAT IT SENDS")
	for _, x := range t.Drops {
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

// EndpointAnswer is what `linkspan port inspect` says of one membership.
type EndpointAnswer struct {
	Network, NetworkID  string
	Interface, HostPort string
	MAC                 string
	Addresses           []netip.Addr
	PortSecurity        SecurityAnswer
	Dropped             []DropAnswer
}

// SecurityAnswer says how far a port is believed, and from what that follows.
type SecurityAnswer struct {
	Setting   driver.PortSecurity // of the endpoint, the network or by default
	NetAdmin  bool                // of the container
	Effective string              // "pinned", "capable" or "unchecked"
}

// DropAnswer is one kind of what was dropped, with the way out.
type DropAnswer struct {
	Kind          facts.DropKind
	What          string // it sends
	Frames, Bytes uint64
	WayOut        string
}

// inspect answers with everything that port security knows of one container, by its
// name or ID.
func (d *server) inspect(w http.ResponseWriter, r *http.Request) {
	endpoints, err := d.reader.Endpoints(r.Context(), r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	answer := []EndpointAnswer{}
	for _, e := range endpoints {
		answer = append(answer, showEndpoint(e))
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

// showEndpoint translates what holds for a port.
func showEndpoint(e inspect.Endpoint) EndpointAnswer {
	out := EndpointAnswer{
		Network: e.Network.Name, NetworkID: string(e.Network.ID), Interface: e.Endpoint.Interface, HostPort: e.Port, MAC: e.Endpoint.MAC,
		Addresses:    e.Addresses,
		PortSecurity: SecurityAnswer{Setting: e.Security, NetAdmin: e.Sandbox.NetAdmin, Effective: e.Effective}, Dropped: []DropAnswer{},
	}
	for _, x := range e.Dropped {
		out.Dropped = append(out.Dropped, DropAnswer{
			Kind: x.Kind, What: driver.Explain(x.Kind), Frames: x.Packets, Bytes: x.Bytes,
			WayOut: driver.WayOut(x.Kind, e.Security, e.Sandbox.NetAdmin),
		})
	}
	return out
}
