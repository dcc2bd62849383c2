package resolver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxResolvConf is how much of a resolv.conf is read, in bytes.
const maxResolvConf = 64 << 10

// ReadHostServers returns the name servers in the resolv.conf(5) at path, at
// most three, in order. Lines that are no name server are passed over. A file
// that is not there stands for a host without name servers.
func ReadHostServers(path string) ([]netip.Addr, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the host's name servers: %w", err)
	}
	defer f.Close()
	servers, err := parseServers(io.LimitReader(f, maxResolvConf))
	if err != nil {
		return nil, fmt.Errorf("read the host's name servers: %s: %w", path, err)
	}
	return servers, nil
}

func parseServers(r io.Reader) ([]netip.Addr, error) {
	var servers []netip.Addr
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxResolvConf+1)
	for lines.Scan() && len(servers) < maxServers {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			servers = append(servers, a)
		}
	}
	return servers, lines.Err()
}

// recheck is how long a HostFile goes without looking whether its file changed.
const recheck = time.Second

// HostFile is a host's resolv.conf, read again when it has changed: containers
// follow a host that moves to another network.
type HostFile struct {
	path string

	mu      sync.Mutex
	looked  time.Time
	seen    fs.FileInfo
	servers []netip.Addr
}

// NewHostFile returns the resolv.conf at path.
func NewHostFile(path string) *HostFile { return &HostFile{path: path} }

// Servers returns the name servers in the file, as they were at most a second
// ago. A file that cannot be read counts as unchanged.
func (h *HostFile) Servers() []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); now.Sub(h.looked) >= recheck {
		h.looked = now
		h.lookLocked()
	}
	return h.servers
}

func (h *HostFile) lookLocked() {
	info, err := os.Stat(h.path)
	if err == nil && h.seen != nil && os.SameFile(info, h.seen) &&
		info.ModTime().Equal(h.seen.ModTime()) && info.Size() == h.seen.Size() {
		return
	}
	if servers, err := ReadHostServers(h.path); err == nil {
		h.seen, h.servers = info, servers
	}
}

// Rules by which a name server loses its place.
const (
	strikes   = 2                // silences in a row
	suspended = 10 * time.Second // how long it is asked last
)

// health remembers which name servers were silent while another answered. Its
// zero value trusts everybody.
type health struct {
	mu    sync.Mutex
	ranks map[netip.Addr]rank // the servers of one source: at most a few
}

type rank struct {
	silences int
	until    time.Time
}

// maxRanks bounds what is remembered of servers that come and go.
const maxRanks = 64

// order returns servers with those that are suspended at the end. On the nil
// health of a sandbox that has nobody to ask, servers is empty.
func (h *health) order(servers []netip.Addr) []netip.Addr {
	if h == nil || len(servers) < 2 {
		return servers
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ranks) == 0 {
		return servers
	}
	now := time.Now()
	var first, last []netip.Addr
	for _, s := range servers {
		if now.Before(h.ranks[s].until) {
			last = append(last, s)
		} else {
			first = append(first, s)
		}
	}
	return slices.Concat(first, last)
}

// note records that winner answered while the silent ones had not.
func (h *health) note(winner netip.Addr, silent []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ranks == nil || len(h.ranks) > maxRanks {
		h.ranks = map[netip.Addr]rank{}
	}
	delete(h.ranks, winner)
	for _, s := range silent {
		r := h.ranks[s]
		r.silences++
		if r.silences >= strikes {
			r.until = time.Now().Add(suspended)
		}
		h.ranks[s] = r
	}
}
