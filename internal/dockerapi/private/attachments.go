package private

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/guests"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// Guests is the hub of namespaces that are not containers'.
type Guests interface {
	Attach(ctx context.Context, r guests.Request) (guests.Attachment, error)
	Detach(ctx context.Context, ref guests.Ref) error
	List(ref guests.Ref) ([]guests.Attachment, error)
	Check(ctx context.Context, ref guests.Ref, want guests.Expected) error
	Collect(ctx context.Context, config string, inUse []guests.Valid) ([]guests.Attachment, error)
	Ready(ctx context.Context, network string) error
	// Sweep removes what is no more.
	Sweep(ctx context.Context) int
}

// maxRequest bounds the body of a request, in bytes: that of a collection names every
// attachment of a host.
const maxRequest = 16 << 20

// resync repairs the host, once guests that are no more are off their networks.
func (d *server) resync(ctx context.Context) (desired.Report, error) {
	if d.Guests != nil {
		d.Guests.Sweep(ctx)
	}
	return d.Engine.Resync(ctx)
}

// handleAttachments adds what package privateapi describes.
func (d *server) handleAttachments(mux *http.ServeMux) {
	const at = "/linkspan/v1/attachments"
	mux.HandleFunc("POST "+at, d.answer(d.attach))
	mux.HandleFunc("GET "+at, d.answer(d.attachments))
	mux.HandleFunc("DELETE "+at, d.answer(func(r *http.Request) (any, error) { return nil, d.Guests.Detach(r.Context(), refOf(r)) }))
	mux.HandleFunc("POST "+at+"/check", d.answer(d.checkAttachment))
	mux.HandleFunc("POST "+at+"/collect", d.answer(d.collect))
	mux.HandleFunc("GET "+at+"/ready", d.answer(func(r *http.Request) (any, error) {
		return nil, d.Guests.Ready(r.Context(), r.URL.Query().Get("network"))
	}))
}

// answer returns the handler that answers with what f returns, or with no content if that
// is nil.
func (d *server) answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		value, err := f(r)
		switch {
		case err != nil:
			d.refuse(w, r, err)
		case value == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			if err := httpkit.WriteJSON(w, http.StatusOK, value); err != nil {
				d.Logger.Debug("answer not written", "op", r.URL.Path, "err", err)
			}
		}
	}
}

// refuse answers with an error.
func (d *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	d.Logger.Info("request refused", "op", r.Method+" "+r.URL.Path, "err", err)
	http.Error(w, err.Error(), httpkit.StatusOf(err))
}

func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return model.Errorf(model.Invalid, "the request cannot be read: %w", err)
	}
	return nil
}

func refOf(r *http.Request) guests.Ref { return guests.Ref(privateapi.RefOf(r.URL.Query())) }

func (d *server) attach(r *http.Request) (any, error) {
	var body privateapi.Request
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	publish, err := asked(body.Publish)
	if err != nil {
		return nil, err
	}
	a, err := d.Guests.Attach(r.Context(), guests.Request{
		Namespace: body.Namespace, Network: body.Network, Claim: model.Claim{Door: body.Door, Config: body.Config, Container: body.Container},
		Name: body.Name, Hostname: body.Hostname, Interface: body.Interface, MAC: body.MAC, Addresses: body.Addresses, Aliases: body.Aliases,
		Publish: publish, Priority: body.Priority, DriverOpts: body.DriverOpts,
	})
	if err != nil {
		return nil, err
	}
	return showAttachment(a), nil
}

// asked translates ports to be published.
func asked(all []privateapi.Port) ([]guests.Port, error) {
	var out []guests.Port
	for _, p := range all {
		one := guests.Port{Container: p.ContainerPort, Protocol: model.Protocol(strings.ToLower(p.Protocol))}
		if one.Protocol == "" {
			one.Protocol = model.TCP
		}
		if p.HostPort != 0 {
			one.HostPort = strconv.Itoa(int(p.HostPort))
		}
		if p.Host != "" {
			host, err := netip.ParseAddr(p.Host)
			if err != nil {
				return nil, model.Errorf(model.Invalid, "invalid host address of a published port: %s", p.Host)
			}
			one.Host = host
		}
		out = append(out, one)
	}
	return out, nil
}

func (d *server) attachments(r *http.Request) (any, error) {
	found, err := d.Guests.List(refOf(r))
	if err != nil {
		return nil, err
	}
	return showAttachments(found), nil
}

func showAttachments(all []guests.Attachment) []privateapi.Attachment {
	out := make([]privateapi.Attachment, 0, len(all))
	for _, a := range all {
		out = append(out, showAttachment(a))
	}
	return out
}

func showAttachment(a guests.Attachment) privateapi.Attachment {
	e, c := a.Endpoint, a.Endpoint.Claim
	out := privateapi.Attachment{
		ID: string(e.ID), Sandbox: model.NamespaceOf(a.Sandbox.Container), Namespace: a.Sandbox.Guest.Path,
		Network: a.Network.Name, NetworkID: string(a.Network.ID), Driver: a.Network.Driver,
		Door: c.Door, Config: c.Config, Container: c.Container, Name: a.Sandbox.Name,
		Interface: e.Interface, MAC: e.MAC, Bridge: a.Device, Port: a.Port, DNS: a.DNS,
	}
	if a.Device != "" {
		out.BridgeMAC = driver.BridgeMAC(a.Network.ID)
	}
	if mtu, err := driver.MTU(a.Network); err == nil { // refused when it was created
		out.MTU = mtu
	}
	for _, f := range model.Families {
		addr := e.Address(f)
		pool, ok := a.Network.PoolOf(addr)
		if ok {
			out.Addresses = append(out.Addresses, privateapi.Address{Address: netip.PrefixFrom(addr, pool.Subnet.Bits()), Gateway: pool.Gateway})
		}
	}
	for _, r := range a.Routes {
		out.Routes = append(out.Routes, privateapi.Route(r))
	}
	for _, b := range a.Sandbox.Ports {
		if b.Endpoint == e.ID {
			out.Ports = append(out.Ports, privateapi.Binding{
				Protocol: string(b.Protocol), Host: b.Host, HostPort: b.HostFirst, ContainerPort: b.Container.First, Count: b.Container.Len(),
			})
		}
	}
	return out
}

func (d *server) checkAttachment(r *http.Request) (any, error) {
	var body privateapi.Check
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	return nil, d.Guests.Check(r.Context(), guests.Ref(body.Ref), guests.Expected{MAC: strings.ToLower(body.MAC), Addresses: body.Addresses})
}

func (d *server) collect(r *http.Request) (any, error) {
	var body privateapi.Collect
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.Config == "" {
		return nil, model.Errorf(model.Invalid, "of which network configuration is not said")
	}
	var inUse []guests.Valid
	for _, v := range body.Valid {
		inUse = append(inUse, guests.Valid{Container: v.Container, Interface: v.Interface})
	}
	removed, err := d.Guests.Collect(r.Context(), body.Config, inUse)
	if err != nil {
		return nil, err
	}
	return privateapi.Collected{Removed: showAttachments(removed)}, nil
}
