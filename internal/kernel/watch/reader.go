package watch

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// process is who changed something: a number and a name, of which the kernel may give
// neither.
type process struct {
	pid  int
	name string
}

// String is how a log says it; empty if nothing is known.
func (p process) String() string {
	switch {
	case p.pid == 0:
		return p.name
	case p.name == "":
		return fmt.Sprintf("process %d", p.pid)
	}
	return fmt.Sprintf("%s (process %d)", p.name, p.pid)
}

// reader makes events of datagrams. Hostile bytes yield fewer events, never a panic.
type reader struct {
	tables  map[Table]bool
	mine    func(pid int) bool
	touched map[Table]bool // since the last generation
	handle  func(Event)
}

func (r *reader) overflow() {
	clear(r.touched)
	r.handle(Event{Overflow: true})
}

// take reads the messages of a datagram (struct nlmsghdr, netlink(7)).
func (r *reader) take(protocol int, b []byte) {
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return
		}
		kind, port, body := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[offPort:]), b[unix.NLMSG_HDRLEN:length]
		if protocol == unix.NETLINK_NETFILTER {
			r.firewall(kind, body)
		} else if kind >= unix.NLMSG_MIN_TYPE {
			r.handle(Event{Type: kind, Body: body, port: port})
		}
		b = b[min((length+3)&^3, len(b)):]
	}
}

// Attributes of NFT_MSG_NEWGEN (linux/netfilter/nf_tables.h).
const (
	genProcPID  = 2 // NFTA_GEN_PROC_PID
	genProcName = 3 // NFTA_GEN_PROC_NAME
)

// What messages about a table, or about something in one, have its name in
// (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE ...), and that of a chain.
const (
	tableAttr     = 1
	ruleChainAttr = 2 // NFTA_RULE_CHAIN
	chainNameAttr = 3 // NFTA_CHAIN_NAME
)

// firewall reads a message of nf_tables. What one transaction changed comes before the
// message that says whose it was.
func (r *reader) firewall(kind uint16, body []byte) {
	const nfgenSize = 4 // struct nfgenmsg: family, version, resource
	if kind>>8 != unix.NFNL_SUBSYS_NFTABLES || len(body) < nfgenSize {
		return
	}
	ad, err := netlink.NewAttributeDecoder(body[nfgenSize:])
	if err != nil {
		return
	}
	ad.ByteOrder = binary.BigEndian
	kind &= 0xff
	if kind == unix.NFT_MSG_NEWGEN {
		r.generation(ad)
		return
	}
	t := Table{Family: body[0]}
	for ad.Next() {
		switch {
		case ad.Type() == tableAttr:
			t.Name = ad.String()
		case ad.Type() == ruleChainAttr && (kind == unix.NFT_MSG_NEWRULE || kind == unix.NFT_MSG_DELRULE),
			ad.Type() == chainNameAttr && (kind == unix.NFT_MSG_NEWCHAIN || kind == unix.NFT_MSG_DELCHAIN):
			t.Chain = ad.String()
		}
	}
	for watched := range r.tables {
		same := watched.Family == t.Family && watched.Name == t.Name
		if same && (watched.Chain == "" || watched.Chain == t.Chain || kind == unix.NFT_MSG_DELTABLE) {
			r.touched[watched] = true
		}
	}
}

// generation ends a transaction.
func (r *reader) generation(ad *netlink.AttributeDecoder) {
	var by process
	for ad.Next() {
		switch ad.Type() {
		case genProcPID:
			by.pid = int(ad.Uint32())
		case genProcName:
			by.name = printable(ad.String())
		}
	}
	for t := range r.touched { // one event for all of them
		if !r.mine(by.pid) && !isOurs(by.pid) {
			r.handle(Event{Table: t, by: by})
		}
		break
	}
	clear(r.touched)
}

// isOurs tells whether a number is that of a thread of this process, or of a child of
// it that has not ended: a command of the firewall's.
func isOurs(pid int) bool {
	if pid == 0 {
		return false
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", pid)); err == nil {
		return true
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	defer f.Close()                                                 //nolint:errcheck // it is only read
	stat, _ := io.ReadAll(io.LimitReader(f, unix.PathMax))          // proc_pid_stat(5)
	_, rest, _ := strings.Cut(string(stat), ") ")                   // the name may have anything in it
	fields := strings.Fields(rest[strings.LastIndex(rest, ")")+1:]) // state, parent ...
	return len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid())
}

// byPort guesses the process of a netlink port: the kernel gives the first socket of a
// process its number, and others one that has the highest bit set. It may have ended.
func byPort(port uint32) process {
	if port == 0 || int32(port) < 0 {
		return process{}
	}
	p := process{pid: int(port)}
	if f, err := os.Open("/proc/" + strconv.Itoa(p.pid) + "/comm"); err == nil {
		comm, _ := io.ReadAll(io.LimitReader(f, unix.PathMax))
		f.Close() //nolint:errcheck // it was read
		p.name = printable(strings.TrimSpace(string(comm)))
	}
	return p
}

// printable keeps a name, which a process may give itself, from writing lines of a log.
func printable(name string) string {
	const longest = 16 // TASK_COMM_LEN
	name = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, name)
	return name[:min(len(name), longest)]
}
