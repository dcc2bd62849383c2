package upstream

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/resolvconf"
)

// maxResolvConf is how much of a resolv.conf is read, in bytes.
const maxResolvConf = 64 << 10

// ReadHostServers returns the name servers in the resolv.conf(5) at path, at
// most MaxServers, in order, each once. Lines that are no name server are passed over. A file
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
	text, err := io.ReadAll(io.LimitReader(f, maxResolvConf))
	if err != nil {
		return nil, fmt.Errorf("read the host's name servers: %s: %w", path, err)
	}
	return serversIn(text), nil
}

// serversIn returns the name servers that the text of a resolv.conf(5) names.
func serversIn(text []byte) []netip.Addr {
	var servers []netip.Addr
	for _, a := range resolvconf.Parse(text).Servers {
		if len(servers) < MaxServers && !slices.Contains(servers, a) {
			servers = append(servers, a)
		}
	}
	return servers
}

// checkInterval is how long a HostFile goes without looking whether its file changed.
const checkInterval = time.Second

// HostFile is a host's resolv.conf, read again when it has changed: containers
// follow a host that moves to another network. Where it names nobody but the
// stub of systemd-resolved, the servers behind the stub are taken, as Docker
// does.
type HostFile struct {
	mu      sync.Mutex
	checked time.Time
	servers []netip.Addr
	main    watchedFile
	stub    watchedFile // the stub
}

// watchedFile is a resolv.conf as it was last seen.
type watchedFile struct {
	path    string
	seen    fs.FileInfo
	servers []netip.Addr
}

// NewHostFile returns the resolv.conf at path.
func NewHostFile(path string) *HostFile {
	return &HostFile{main: watchedFile{path: path}, stub: watchedFile{path: resolvconf.SystemdPath}}
}

// Servers returns the name servers in the file, as they were at most a second
// ago. A file that cannot be read counts as unchanged.
func (h *HostFile) Servers() []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); now.Sub(h.checked) >= checkInterval {
		h.checked = now
		h.servers = h.lookLocked()
	}
	return h.servers
}

func (h *HostFile) lookLocked() []netip.Addr {
	servers := h.main.look()
	if (resolvconf.Conf{Servers: servers}).OnlyStub() {
		if behind := h.stub.look(); len(behind) > 0 {
			return behind
		}
	}
	return servers
}

// look reads the file if it is not as it was.
func (w *watchedFile) look() []netip.Addr {
	info, err := os.Stat(w.path)
	if err == nil && w.seen != nil && os.SameFile(info, w.seen) &&
		info.ModTime().Equal(w.seen.ModTime()) && info.Size() == w.seen.Size() {
		return w.servers
	}
	if servers, err := ReadHostServers(w.path); err == nil {
		w.seen, w.servers = info, servers
	}
	return w.servers
}
