package survey

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/kernel/machine"
	"github.com/linkspan/linkspan/internal/kernel/observe"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// patience is how long a service of this host, or a name server, may take to answer.
const patience = time.Second

// hostSettings are the values below /proc/sys that Host reads.
var hostSettings = []string{
	"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/all/disable_ipv6", "net/ipv4/conf/all/rp_filter", "net/bridge/bridge-nf-call-iptables",
	"net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max", "net/ipv4/neigh/default/gc_thresh3", "net/ipv6/neigh/default/gc_thresh3", "fs/file-nr",
	"kernel/osrelease", "user/max_net_namespaces",
}

// containerdSocket is where the system's containerd listens.
const containerdSocket = "/run/containerd/containerd.sock"

// Host looks at the machine as a whole. dataRoot is where the daemon's data is or will be;
// instance marks its own interfaces. Looks that fail are named in the answer.
func (s *Surveyor) Host(ctx context.Context, dataRoot, instance string) evidence.Host {
	h := evidence.Host{
		Root: os.Geteuid() == 0, Settings: map[string]string{}, Lacks: map[string]string{}, Failed: map[string]string{}, Programs: map[string]bool{},
		Clock: clock(),
	}
	s.settings(hostSettings, h.Settings)
	h.Kernel = h.Settings["kernel/osrelease"]
	m := machine.Read(os.DirFS(s.root))
	h.Cgroup = m.CgroupVersion
	for name, has := range map[string]bool{"cpu": m.CPUControl, "memory": m.MemoryControl, "pids": m.ProcessControl} {
		if has {
			h.Controllers = append(h.Controllers, name)
		}
	}
	slices.Sort(h.Controllers)
	h.Connections.Count, _ = strconv.Atoi(h.Settings["net/netfilter/nf_conntrack_count"])
	h.Connections.Max, _ = strconv.Atoi(h.Settings["net/netfilter/nf_conntrack_max"])
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		h.Programs[name] = inPath(name)
	}
	h.Runtime = service(ctx, containerdSocket)
	h.Disks = append(h.Disks, disk(dataRoot))
	for what, look := range map[string]func() error{
		"links and routes": func() error { return network(&h) },
		"kernel features":  func() error { return features(&h) },
		"rules":            func() error { return chains(ctx, &h) },
	} {
		if err := look(); err != nil {
			h.Failed[what] = errno(err)
		}
	}
	h.Resolvers = s.resolvers(ctx)
	h.Leftovers = leftovers(h, instance)
	return h
}

// network adds links, routes and the number of neighbours.
func network(h *evidence.Host) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	v := evidence.View{AddrsOn: map[netip.Addr]string{}}
	if err := links(handle, &v); err != nil {
		return err
	}
	h.Links = v.Links
	routes, err := handle.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	for _, r := range routes {
		one := evidence.HostRoute{Ours: r.Protocol == rtnl.Protocol}
		if r.Dst != nil {
			ip, _ := netip.AddrFromSlice(r.Dst.IP)
			bits, _ := r.Dst.Mask.Size()
			one.Destination = netip.PrefixFrom(ip.Unmap(), bits)
		}
		gateway, _ := netip.AddrFromSlice(r.Gw)
		one.Gateway = gateway.Unmap()
		for _, l := range h.Links {
			if l.Index == r.LinkIndex {
				one.Link = l.Name
			}
		}
		h.Routes = append(h.Routes, one)
	}
	all, err := handle.NeighList(0, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	h.Neighbours = len(all)
	return nil
}

// features tries what the kernel can make, in a namespace that ends with its thread.
func features(h *evidence.Host) error {
	if !h.Root {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends, and the namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		done <- try(h.Lacks)
	}()
	return <-done
}

// try makes a link of each kind.
func try(lacks map[string]string) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	named := func(name string) netlink.LinkAttrs { return netlink.LinkAttrs{Name: name} }
	for _, l := range []netlink.Link{
		&netlink.Bridge{LinkAttrs: named("try0")}, &netlink.Veth{LinkAttrs: named("try1"), PeerName: "try2"}, &netlink.Dummy{LinkAttrs: named("try3")},
	} {
		if err := handle.LinkAdd(l); err != nil {
			lacks[l.Type()] = errno(err)
		}
	}
	parent, err := handle.LinkByName("try1")
	if err != nil {
		return nil // that it lacks veth is said
	}
	on := func(name string) netlink.LinkAttrs {
		return netlink.LinkAttrs{Name: name, ParentIndex: parent.Attrs().Index}
	}
	for _, l := range []netlink.Link{
		&netlink.Vlan{LinkAttrs: on("try4"), VlanId: 7}, &netlink.Macvlan{LinkAttrs: on("try5"), Mode: netlink.MACVLAN_MODE_BRIDGE},
		&netlink.Vxlan{LinkAttrs: named("try7"), VxlanId: 7, Port: 4789},
	} {
		if err := handle.LinkAdd(l); err != nil {
			lacks[l.Type()] = errno(err)
		}
	}
	if parent, err = handle.LinkByName("try2"); err != nil { // the other end: macvlan and ipvlan do not share one
		return err
	}
	if err := handle.LinkAdd(&netlink.IPVlan{LinkAttrs: on("try6"), Mode: netlink.IPVLAN_MODE_L2}); err != nil {
		lacks["ipvlan"] = errno(err)
	}
	return nil
}

// inPath tells whether a program is found.
func inPath(name string) bool {
	for _, dir := range filepath.SplitList(os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin") {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// service connects to a socket.
func service(ctx context.Context, path string) evidence.Service {
	out := evidence.Service{Socket: path}
	if _, err := os.Stat(path); err != nil {
		return out
	}
	out.There = true
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		out.Err = errno(err)
		return out
	}
	_ = conn.Close() // nothing was said
	return out
}

// disk measures the file system that a folder is on, or will be.
func disk(path string) evidence.Disk {
	out := evidence.Disk{Path: path}
	at := path
	for {
		if _, err := os.Stat(at); err == nil || at == "/" || at == "." {
			break
		}
		at = filepath.Dir(at)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		out.Err = errno(err)
		return out
	}
	size := uint64(st.Bsize)
	out.Free, out.Size, out.InodesFree, out.InodesTotal = st.Bavail*size, st.Blocks*size, st.Ffree, st.Files
	out.ReadOnly = st.Flags&unix.ST_RDONLY != 0
	return out
}

// clock asks the kernel whether somebody keeps its clock (adjtimex(2)).
func clock() evidence.Clock {
	out := evidence.Clock{Now: time.Now()}
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		out.Unknown = true
		return out
	}
	out.Synchronised = t.Status&unix.STA_UNSYNC == 0
	return out
}

// resolvers asks each name server of the host one question that every one can answer.
func (s *Surveyor) resolvers(ctx context.Context) []evidence.NameServer {
	servers, err := observe.Resolvers(filepath.Join(s.root, "etc/resolv.conf"))
	if err != nil {
		return nil
	}
	out := make([]evidence.NameServer, len(servers))
	var wait sync.WaitGroup
	for i, server := range servers {
		wait.Go(func() {
			out[i] = s.Ask(ctx, evidence.NameQuestion{Server: server, Name: "localhost", Timeout: patience})
		})
	}
	wait.Wait()
	return out
}

// Descriptors counts the files that a process has open, and how many it may.
func (s *Surveyor) Descriptors(who string, pid int) (evidence.Descriptors, error) {
	dir := filepath.Join(s.root, "proc", strconv.Itoa(pid))
	open, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return evidence.Descriptors{}, err
	}
	out := evidence.Descriptors{Who: who, Open: len(open)}
	limits, err := os.ReadFile(filepath.Join(dir, "limits"))
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok && len(strings.Fields(rest)) > 0 {
			out.Limit, _ = strconv.Atoi(strings.Fields(rest)[0]) // 0 if it is unlimited
		}
	}
	return out, err
}

// leftovers are interfaces of engines that are no more, by their names and marks.
func leftovers(h evidence.Host, instance string) (out []evidence.Leftover) {
	mine := "linkspan:" + instance + ":"
	seen := map[string]evidence.Leftover{}
	for _, l := range h.Links {
		_, foreign := strings.CutPrefix(l.Alias, "linkspan:")
		one := evidence.Leftover{What: "interface " + l.Name, Mend: "ip link del " + l.Name}
		switch {
		case instance != "" && foreign && !strings.HasPrefix(l.Alias, mine):
			one.Of = "another linkspand (" + l.Alias + ")"
		case l.Kind == "bridge" && l.Alias == "" && (l.Name == "docker0" || l.Name == "docker_gwbridge" || isDockerBridge(l.Name)):
			one.Of = "a dockerd"
		default:
			continue
		}
		seen[l.Name] = one
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		out = append(out, seen[name])
	}
	return out
}

// isDockerBridge tells whether a name is one that Docker computes for its bridges.
func isDockerBridge(name string) bool {
	id, ok := strings.CutPrefix(name, "br-")
	return ok && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}
