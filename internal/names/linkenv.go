package names

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// Linked is the target of a link as the linking container's environment tells of
// it.
type Linked struct {
	Name  string // of the link: "/container/alias"
	Alias string
	Addr  netip.Addr
	Ports []model.OpenPorts // ranges that neither overlap nor touch
	Env   []string          // of the target: "NAME=value"
}

// LinkEnvironment returns the variables that Docker gave linked containers until
// it left them out with version 29. HOME and PATH of the target are its own
// business.
func LinkEnvironment(l Linked) []string {
	prefix := strings.ReplaceAll(strings.ToUpper(l.Alias), "-", "_")
	ports := slices.SortedFunc(slices.Values(l.Ports), func(a, b model.OpenPorts) int {
		return cmp.Or(cmp.Compare(a.Ports.First, b.Ports.First), cmp.Compare(a.Protocol, b.Protocol))
	})
	var out []string
	set := func(name, format string, args ...any) {
		out = append(out, prefix+name+"="+fmt.Sprintf(format, args...))
	}
	url := func(protocol model.Protocol, port int) string {
		return fmt.Sprintf("%s://%s:%d", protocol, l.Addr, port)
	}
	if len(ports) > 0 {
		set("_PORT", "%s", url(ports[0].Protocol, int(ports[0].Ports.First)))
	}
	for _, p := range ports {
		upper, first, last := strings.ToUpper(string(p.Protocol)), int(p.Ports.First), int(p.Ports.Last)
		if first != last {
			begin, end := fmt.Sprintf("_PORT_%d_%s", first, upper), fmt.Sprintf("_PORT_%d_%s", last, upper)
			set(begin+"_START", "%s", url(p.Protocol, first))
			set(begin+"_PORT_START", "%d", first)
			set(end+"_END", "%s", url(p.Protocol, last))
			set(begin+"_PORT_END", "%d", last)
		}
		for port := first; port <= last; port++ {
			name := fmt.Sprintf("_PORT_%d_%s", port, upper)
			set(name, "%s", url(p.Protocol, port))
			set(name+"_ADDR", "%s", l.Addr)
			set(name+"_PORT", "%d", port)
			set(name+"_PROTO", "%s", p.Protocol)
		}
	}
	set("_NAME", "%s", l.Name)
	for _, v := range l.Env {
		if name, value, ok := strings.Cut(v, "="); ok && name != "HOME" && name != "PATH" {
			set("_ENV_"+name, "%s", value)
		}
	}
	return out
}
