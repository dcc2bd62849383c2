package dockerapi

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// published is a stretch of host ports that leads to a running container.
type published struct {
	sandbox model.Sandbox
	binding model.PortBinding
}

// ports lists what is published, ordered by host port: who, where and how.
func (d *debugServer) ports(w http.ResponseWriter, r *http.Request) {
	var all []published
	for sb := range d.Engine.Snapshot().Sandboxes() {
		for _, b := range sb.Ports {
			if sb.Up {
				all = append(all, published{sb, b})
			}
		}
	}
	slices.SortFunc(all, func(a, b published) int {
		return cmp.Or(cmp.Compare(a.binding.HostFirst, b.binding.HostFirst), cmp.Compare(a.binding.Protocol, b.binding.Protocol),
			a.binding.Host.Compare(b.binding.Host), cmp.Compare(a.sandbox.Name, b.sandbox.Name))
	})
	d.text(w, r, table(all))
}

func table(all []published) string {
	var out bytes.Buffer
	columns := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, "HOST\tPROTOCOL\tCONTAINER\tID\tPORT")
	for _, p := range all {
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\n", hostText(p.binding), p.binding.Protocol,
			p.sandbox.Name, model.Short(p.sandbox.Container), p.binding.Container)
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
	lines := usersOf(d.Engine.Snapshot(), uint16(number))
	if len(lines) == 0 {
		lines = []string{fmt.Sprintf("no container publishes port %d\n", number)}
	}
	var out bytes.Buffer
	for _, line := range lines {
		out.WriteString(line)
	}
	d.text(w, r, out.String())
}

// usersOf returns a line for each container that has or claims a port.
func usersOf(s *state.Snapshot, port uint16) []string {
	var out []string
	for _, protocol := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
		for u := range s.PortUses(protocol, model.Port(port)) {
			sb, _ := s.Sandbox(u.Sandbox)
			verb := "is published by"
			if !u.Running {
				verb = "will be wanted by"
			}
			out = append(out, fmt.Sprintf("%s/%s %s container %s (%s)\n",
				netip.AddrPortFrom(u.Addr, port), protocol, verb, sb.Name, model.Short(sb.Container)))
		}
	}
	return out
}
