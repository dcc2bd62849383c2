package private

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// ports lists what is published, ordered by host port: who, where, since when,
// and how much came.
func (d *server) ports(w http.ResponseWriter, r *http.Request) {
	t, err := d.reader.Traffic(r.Context())
	if err != nil {
		d.Logger.Warn("traffic was not read", "op", "port.ls", "err", err) // the rest is worth showing
	}
	since := d.reader.Starts(r.Context())
	if asJSON(r) {
		d.json(w, r, portAnswers(t.Ports, since))
		return
	}
	d.text(w, r, table(t.Ports, since))
}

func table(all []inspect.Port, since func(model.ContainerID) time.Time) string {
	var out bytes.Buffer
	columns := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, "HOST\tPROTOCOL\tCONTAINER\tID\tPORT\tSINCE\tCONNECTIONS\tTRAFFIC")
	for _, p := range all {
		connections, bytes, started := "-", "-", "-"
		if p.Counts != nil {
			connections, bytes = strconv.FormatUint(p.Counts.Connections, 10), units.HumanSize(float64(p.Counts.Bytes))
		}
		if at := since(p.Sandbox.Container); !at.IsZero() {
			started = at.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", hostText(p.Binding), p.Binding.Protocol, p.Sandbox.Name,
			model.Short(p.Sandbox.Container), p.Binding.Container, started, connections, bytes)
	}
	columns.Flush() //nolint:errcheck // into memory
	return out.String()
}

// hostText prints "0.0.0.0:8000-8010"; "routed" where no port of the host leads
// to the container.
func hostText(b model.PortBinding) string {
	if b.HostFirst == 0 {
		return "routed"
	}
	text := netip.AddrPortFrom(b.Host, b.HostFirst).String()
	if b.Container.Len() > 1 {
		text += "-" + strconv.Itoa(int(b.HostPorts().Last))
	}
	return text
}

// portUsers says who has one host port, in any protocol, and who will want it.
func (d *server) portUsers(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.ParseUint(r.PathValue("port"), 10, 16)
	if err != nil || number == 0 {
		http.Error(w, fmt.Sprintf("invalid port: %q", r.PathValue("port")), http.StatusBadRequest)
		return
	}
	users, err := d.reader.PortUsers(r.Context(), uint16(number))
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	if asJSON(r) {
		d.json(w, r, usersAnswer(users))
		return
	}
	var out bytes.Buffer
	for _, u := range users.Containers {
		verb := "is published by"
		if !u.Running {
			verb = "will be wanted by"
		}
		who := fmt.Sprintf("container %s (%s)", u.Sandbox.Name, model.Short(u.Sandbox.Container))
		if u.Sandbox.Ingress != "" {
			who = "a service of the swarm (docker service ls)"
		}
		fmt.Fprintf(&out, "%s/%s %s %s\n", u.At, u.Protocol, verb, who)
	}
	for _, l := range users.Processes {
		fmt.Fprintf(&out, "%s/%s is held by %s\n", l.At, l.Protocol, cmp.Or(l.Who, "the kernel, or a process that cannot be seen"))
	}
	if users.Free() {
		fmt.Fprintf(&out, "port %d is free\n", number)
	}
	d.text(w, r, out.String())
}

// usersAnswer is what a program is told of the users of a port.
func usersAnswer(users inspect.PortUsers) []privateapi.PortUser {
	out := []privateapi.PortUser{}
	for _, u := range users.Containers {
		user := privateapi.PortUser{Protocol: u.Protocol, At: u.At, Container: u.Sandbox.Name, ID: string(u.Sandbox.Container), Running: u.Running}
		if u.Sandbox.Ingress != "" {
			user.Container, user.ID, user.Who = "", "", "a service of the swarm"
		}
		out = append(out, user)
	}
	for _, l := range users.Processes {
		out = append(out, privateapi.PortUser{Protocol: l.Protocol, At: l.At, Running: true, Who: l.Who})
	}
	return out
}
