package hostports

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// entry is a line of /proc/net/{tcp,tcp6,udp,udp6}; see proc_net_tcp(5).
type entry struct {
	local   netip.AddrPort
	waiting bool // for whoever comes: listening, or an unconnected UDP socket
	inode   uint64
}

// States of a socket there (include/net/tcp_states.h); UDP uses stateClose for
// sockets that are not connected.
const (
	stateClose  = 7
	stateListen = 10
)

// listeners returns the sockets of a protocol, both families, that wait for
// whoever comes.
func listeners(ctx context.Context, protocol model.Protocol) ([]entry, error) {
	all, err := entries(ctx, protocol)
	return slices.DeleteFunc(all, func(e entry) bool { return !e.waiting }), err
}

// entries returns all sockets of a protocol in the network namespace of this
// thread: another one may be visiting elsewhere.
func entries(ctx context.Context, protocol model.Protocol) ([]entry, error) {
	var out []entry
	for _, family := range []string{"", "6"} {
		f, err := os.Open("/proc/thread-self/net/" + string(protocol) + family)
		if errors.Is(err, fs.ErrNotExist) {
			continue // without IPv6, or without the protocol
		}
		if err != nil {
			return nil, err
		}
		some, err := parse(ctx, f)
		_ = f.Close() // only read
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

// parse reads lines of which the first is a heading. Lines that it does not
// understand are passed over.
func parse(ctx context.Context, r io.Reader) ([]entry, error) {
	var out []entry
	lines := bufio.NewScanner(r)
	lines.Scan()
	for lines.Scan() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e, ok := parseLine(lines.Text()); ok {
			out = append(out, e)
		}
	}
	return out, lines.Err()
}

// parseLine reads "0: 0100007F:1F90 00000000:0000 0A ... uid timeout inode".
func parseLine(line string) (entry, bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 {
		return entry{}, false
	}
	local, ok := parseAddr(fields[1])
	state, badState := strconv.ParseUint(fields[3], 16, 8)
	inode, badInode := strconv.ParseUint(fields[9], 10, 64)
	return entry{local, state == stateListen || state == stateClose, inode}, ok && badState == nil && badInode == nil
}

// parseAddr reads an address as words in the byte order of this machine, and a
// port.
func parseAddr(text string) (netip.AddrPort, bool) {
	host, portText, _ := strings.Cut(text, ":")
	port, badPort := strconv.ParseUint(portText, 16, 16)
	raw, badHost := hex.DecodeString(host)
	if badPort != nil || badHost != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(port)), ok
}

// holder says who has a port that cannot be bound: "process nginx, pid 123". It
// is empty if that cannot be told in ownerTime, for instance because a socket of
// the kernel has it.
func holder(ctx context.Context, row desired.Reserve, port uint16) string {
	ctx, cancel := context.WithTimeout(ctx, ownerTime)
	defer cancel()
	all, err := entries(ctx, row.Protocol)
	if err != nil {
		return ""
	}
	// Those that wait first: a connection does not mind a new listener.
	var waiting, others []uint64
	for _, e := range all {
		switch {
		case e.inode == 0 || e.local.Port() != port || !overlap(row.Addr, e.local.Addr()):
		case e.waiting:
			waiting = append(waiting, e.inode)
		default:
			others = append(others, e.inode)
		}
	}
	if len(waiting) == 0 {
		waiting = others
	}
	if len(waiting) == 0 {
		return ""
	}
	return process(ctx, waiting)
}

// overlap tells whether a socket at b can be in the way of one at a. One at :: is
// in the way of IPv4 too unless it is for IPv6 only, which is not shown.
func overlap(a, b netip.Addr) bool {
	b = b.Unmap()
	if a.Is4() != b.Is4() {
		return b == netip.IPv6Unspecified()
	}
	return a == b || a.IsUnspecified() || b.IsUnspecified()
}

// process names the process with the lowest ID that has one of the sockets: where
// several share it, that is the one that was there first. Those of this network
// namespace come before others.
func process(ctx context.Context, inodes []uint64) string {
	links := map[string]bool{}
	for _, inode := range inodes {
		links["socket:["+strconv.FormatUint(inode, 10)+"]"] = true
	}
	budget := maxOwnerFDs
	for _, pid := range processes() {
		dir := "/proc/" + strconv.Itoa(pid)
		// Processes come and go; what cannot be read is not the one.
		fds, _ := filesIn(dir + "/fd")
		for _, fd := range fds {
			if budget--; budget < 0 || ctx.Err() != nil {
				return ""
			}
			if link, err := os.Readlink(dir + "/fd/" + fd); err == nil && links[link] {
				return describe(dir, pid)
			}
		}
	}
	return ""
}

// processes returns the IDs of all, those in this network namespace first: they are
// nearly always the ones, and the containers' need not be looked at then.
func processes() []int {
	all, _ := filesIn("/proc") // without /proc nobody is found
	var pids []int
	for _, one := range all {
		if pid, err := strconv.Atoi(one); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return pids
	}
	var near, far []int
	for _, pid := range pids {
		if where, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net"); err == nil && where == here {
			near = append(near, pid)
		} else {
			far = append(far, pid)
		}
	}
	return append(near, far...)
}

// filesIn returns what is in a directory, without looking at it.
func filesIn(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return f.Readdirnames(maxOwnerFDs)
}

// describe returns "process nginx, pid 123". What a process calls itself is shown
// without anything that does not print.
func describe(dir string, pid int) string {
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return fmt.Sprintf("pid %d", pid)
	}
	clean := strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return -1
	}, string(comm))
	return fmt.Sprintf("process %s, pid %d", clean, pid)
}
