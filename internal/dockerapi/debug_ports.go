package dockerapi

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// ports lists what is published, ordered by host port: who, where, since when,
// and how much came.
func (d *debugServer) ports(w http.ResponseWriter, r *http.Request) {
	t, err := d.counters(r.Context())
	if err != nil {
		d.Logger.Warn("traffic was not read", "op", "port.ls", "err", err) // the rest is worth showing
	}
	d.text(w, r, table(publishedPorts(d.Engine.Snapshot(), t), d.starts(r.Context())))
}

func table(all []published, since func(model.ContainerID) time.Time) string {
	var out bytes.Buffer
	columns := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, "HOST\tPROTOCOL\tCONTAINER\tID\tPORT\tSINCE\tCONNECTIONS\tTRAFFIC")
	for _, p := range all {
		connections, bytes, started := "-", "-", "-"
		if p.counts != nil {
			connections, bytes = strconv.FormatUint(p.counts.Connections, 10), units.HumanSize(float64(p.counts.Bytes))
		}
		if at := since(p.sandbox.Container); !at.IsZero() {
			started = at.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", hostText(p.binding), p.binding.Protocol, p.sandbox.Name,
			model.Short(p.sandbox.Container), p.binding.Container, started, connections, bytes)
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
func (d *debugServer) portUsers(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.ParseUint(r.PathValue("port"), 10, 16)
	if err != nil || number == 0 {
		http.Error(w, fmt.Sprintf("invalid port: %q", r.PathValue("port")), http.StatusBadRequest)
		return
	}
	port := uint16(number)
	processes, err := d.listeners(r.Context(), port)
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	users := usersOf(d.Engine.Snapshot(), port)
	var out bytes.Buffer
	free := true
	for _, u := range users {
		free = free && !u.running
		out.WriteString(u.text)
	}
	for _, l := range processes {
		if !has(users, l) {
			free = false
			fmt.Fprintf(&out, "%s/%s is held by %s\n", l.At, l.Protocol, cmp.Or(l.Who, "the kernel, or a process that cannot be seen"))
		}
	}
	if free {
		fmt.Fprintf(&out, "port %d is free\n", port)
	}
	d.text(w, r, out.String())
}

func (d *debugServer) listeners(ctx context.Context, port uint16) ([]facts.Listener, error) {
	if d.Listeners == nil {
		return nil, nil
	}
	return d.Listeners(ctx, port)
}

// portUser is a container that has or claims a port.
type portUser struct {
	protocol model.Protocol
	addr     netip.Addr
	running  bool
	text     string // a line
}

// usersOf returns who has or claims a port.
func usersOf(s *state.Snapshot, port uint16) []portUser {
	var out []portUser
	for _, protocol := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
		for u := range s.PortUses(protocol, model.Port(port)) {
			sb, _ := s.Sandbox(u.Sandbox)
			verb := "is published by"
			if !u.Running {
				verb = "will be wanted by"
			}
			out = append(out, portUser{protocol, u.Addr, u.Running, fmt.Sprintf("%s/%s %s container %s (%s)\n",
				netip.AddrPortFrom(u.Addr, port), protocol, verb, sb.Name, model.Short(sb.Container))})
		}
	}
	return out
}

// has tells whether a socket is what holds a published port for its container:
// nobody else can listen where one of them has the port.
func has(users []portUser, l facts.Listener) bool {
	for _, u := range users {
		a, b := u.addr, l.At.Addr()
		if u.running && u.protocol == l.Protocol && a.Is4() == b.Is4() && (a == b || a.IsUnspecified()) {
			return true
		}
	}
	return false
}
