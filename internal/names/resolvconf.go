package names

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolvconf"
)

// ResolverAddr is where a sandbox finds the resolver of the engine.
const ResolverAddr = "127.0.0.11"

// maxNDots is the largest ndots that resolvers take (resolv.conf(5)).
const maxNDots = 15

// HostPath returns which file stands for the host's resolv.conf, given the text
// of resolvconf.Path. Where that names nobody but the stub of systemd-resolved,
// which a container cannot reach, it is the file with the servers behind it.
func HostPath(text []byte) string {
	if resolvconf.Parse(text).OnlyStub() {
		return resolvconf.SystemdPath
	}
	return resolvconf.Path
}

// Mode is how a container gets its names resolved.
type Mode uint8

// The modes.
const (
	// ModeHost is the host's file, for containers in the host's namespace.
	ModeHost Mode = iota
	// ModeLegacy is the host's servers as far as a container can reach them, for
	// the default bridge.
	ModeLegacy
	// ModeInternal is the resolver of the engine.
	ModeInternal
)

// Overrides is what stands in for the host's: --dns, --dns-search and
// --dns-option of a container or, where it has none, of the daemon.
type Overrides struct {
	Servers []netip.Addr
	Search  []string
	Options []string
}

// ResolvConfFile is what a container's resolv.conf is made from.
type ResolvConfFile struct {
	Mode      Mode
	Host      []byte // text of the host's file
	Path      string // where that is; named in a comment
	Overrides Overrides
	IPv6      bool // ModeLegacy: the network has IPv6
}

// ResolvConfResult is a rendered resolv.conf. All but Text is for ModeInternal:
// what the engine's resolver is to do for the container.
type ResolvConfResult struct {
	Text []byte
	// Servers are who the engine's resolver asks; FromHost says that they are the
	// host's, to be asked from its namespace.
	Servers  []netip.Addr
	FromHost bool
	// NDots is the ndots that the user or the host set, 0 if neither did.
	NDots int
}

// Resolving is the result in the words of the model, where no servers stand for
// the host's.
func (r ResolvConfResult) Resolving() model.Resolving {
	if r.FromHost {
		return model.Resolving{NDots: r.NDots}
	}
	return model.Resolving{Servers: r.Servers, NDots: r.NDots}
}

// Render makes the file. Each list of Overrides that is not empty takes the
// place of the host's; a search list of "." alone stands for none.
func Render(f ResolvConfFile) ResolvConfResult {
	conf := resolvconf.Parse(f.Host)
	r := rendering{file: f, conf: conf, external: conf.Servers}
	r.override()
	switch f.Mode {
	case ModeLegacy:
		r.legacy()
	case ModeInternal:
		r.internal()
	}
	out := ResolvConfResult{Text: []byte(r.text())}
	if f.Mode == ModeInternal {
		out.Servers, out.FromHost, out.NDots = r.external, !r.overrides("nameservers"), r.ndots
	}
	return out
}

// rendering is a resolv.conf in the making.
type rendering struct {
	file      ResolvConfFile
	conf      resolvconf.Conf
	external  []netip.Addr // servers that the engine's resolver asks
	overrode  []string     // the lists that are not the host's
	defaulted bool         // public servers were put in
	ndots     int
	ndotsFrom string
}

func (r *rendering) overrides(list string) bool { return slices.Contains(r.overrode, list) }

func (r *rendering) override() {
	o := r.file.Overrides
	if len(o.Servers) > 0 {
		r.conf.Servers, r.conf.Bad, r.external = o.Servers, nil, o.Servers
		r.overrode = append(r.overrode, "nameservers")
	}
	if len(o.Search) > 0 {
		r.conf.Search = o.Search
		r.overrode = append(r.overrode, "search")
	}
	if len(o.Options) > 0 {
		r.conf.Options = o.Options
		r.overrode = append(r.overrode, "options")
	}
	// On the host, too, "." alone means that there is nothing to search.
	if len(r.conf.Search) == 1 && r.conf.Search[0] == "." {
		r.conf.Search = nil
	}
}

// legacy leaves the servers that a container on a bridge can reach. What the
// user asked for is not doubted.
func (r *rendering) legacy() {
	if r.overrides("nameservers") {
		return
	}
	var reachable []netip.Addr
	for _, a := range r.conf.Servers {
		if !a.Unmap().IsLoopback() && (r.file.IPv6 || a.Unmap().Is4()) {
			reachable = append(reachable, a)
		}
	}
	if len(reachable) == 0 {
		reachable = publicServers(r.file.IPv6)
		r.defaulted = true
	}
	r.conf.Servers = reachable
}

// publicServers are Google's, as Docker has it.
func publicServers(ipv6 bool) []netip.Addr {
	servers := []netip.Addr{netip.AddrFrom4([4]byte{8, 8, 8, 8}), netip.AddrFrom4([4]byte{8, 8, 4, 4})}
	if ipv6 {
		servers = append(servers, netip.MustParseAddr("2001:4860:4860::8888"), netip.MustParseAddr("2001:4860:4860::8844"))
	}
	return servers
}

// internal puts the engine's resolver in front. With ndots:0 a bare name is asked
// for as it is before any search domain is tried, so that names of containers
// cost one query and never leave the host; whoever sets ndots knows better.
func (r *rendering) internal() {
	r.conf.Servers = []netip.Addr{netip.MustParseAddr(ResolverAddr)}
	ndots, found := findNDots(r.conf.Options)
	switch {
	case !found:
		kept := slices.DeleteFunc(slices.Clone(r.conf.Options), isNDots)
		r.conf.Options = append(kept, "ndots:0")
		r.ndotsFrom = "internal"
	case r.overrides("options"):
		r.ndots, r.ndotsFrom = ndots, "override"
	default:
		r.ndots, r.ndotsFrom = ndots, "host"
	}
}

func isNDots(option string) bool { return option == "ndots" || strings.HasPrefix(option, "ndots:") }

// findNDots returns the last valid ndots among options.
func findNDots(options []string) (ndots int, found bool) {
	for _, o := range options {
		value, ok := strings.CutPrefix(o, "ndots:")
		if n, err := strconv.Atoi(value); ok && err == nil && n >= 0 {
			ndots, found = min(n, maxNDots), true
		}
	}
	return ndots, found
}

const header = `# Generated by Docker Engine.
# This file can be edited; Docker Engine will not make further changes once it
# has been modified.

`

func (r *rendering) text() string {
	var b strings.Builder
	b.WriteString(header)
	for _, a := range r.conf.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(r.conf.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", words(r.conf.Search))
	}
	if len(r.conf.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", words(r.conf.Options))
	}
	for _, line := range r.conf.Other {
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
	r.comments(&b)
	return b.String()
}

// words joins values with spaces. What breaks lines in one of them, which a user
// may have given, does not break the file's.
func words(values []string) string {
	return strings.Join(strings.Fields(strings.Join(values, " ")), " ")
}

// comments closes the file with where it all came from.
func (r *rendering) comments(b *strings.Builder) {
	if r.file.Path != "" {
		fmt.Fprintf(b, "# Based on host file: '%s'%s\n", r.file.Path, map[Mode]string{
			ModeLegacy: " (legacy)", ModeInternal: " (internal resolver)",
		}[r.file.Mode])
	}
	for _, bad := range r.conf.Bad {
		fmt.Fprintf(b, "# Ignored: not an IP address: %q\n", bad)
	}
	if r.defaulted {
		b.WriteString("# Used default nameservers.\n")
	}
	if r.file.Mode == ModeInternal {
		r.commentExternal(b)
	}
	fmt.Fprintf(b, "# Overrides: [%s]\n", strings.Join(r.overrode, " "))
	if r.ndotsFrom != "" {
		fmt.Fprintf(b, "# Option ndots from: %s\n", r.ndotsFrom)
	}
}

// commentExternal says who gets asked what the resolver does not know; those
// asked from the host's namespace stand in host(…).
func (r *rendering) commentExternal(b *strings.Builder) {
	if len(r.external) == 0 {
		b.WriteString("# NO EXTERNAL NAMESERVERS DEFINED\n")
		return
	}
	shown := make([]string, len(r.external))
	for i, a := range r.external {
		shown[i] = a.String()
		if !r.overrides("nameservers") {
			shown[i] = "host(" + shown[i] + ")"
		}
	}
	fmt.Fprintf(b, "# ExtServers: [%s]\n", strings.Join(shown, " "))
}
