package source

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// network is what plugins hold for us of one network.
type network struct {
	Record model.Network // as it was asked for, with the pools that it was given
	Driver string        // the plugin that is its driver; empty if none is
	IPAM   string        // the plugin that gives out its addresses; empty if none does
	Scope  string
	Space  string // of addresses
	Pools  []pool
	Made   bool // the driver may know of it
	// Complete says that all was answered; Leaving, that all is to be given back.
	Complete, Leaving bool
}

// pool is a subnet of a network.
type pool struct {
	ID      string // by which the IPAM plugin knows it; empty if it is not one's
	Subnet  netip.Prefix
	Range   netip.Prefix
	Gateway netip.Prefix
	Aux     map[string]netip.Prefix
	// Taken are addresses that were requested for the network itself.
	Taken []netip.Addr
}

func (n network) fact() facts.Network {
	f := facts.Network{ID: n.Record.ID, Scope: n.Scope}
	for _, p := range n.Pools {
		out := model.Pool{Subnet: p.Subnet, Range: p.Range, Gateway: p.Gateway.Addr()}
		for name, a := range p.Aux {
			if out.Aux == nil {
				out.Aux = map[string]netip.Addr{}
			}
			out.Aux[name] = a.Addr()
		}
		f.Pools = append(f.Pools, out)
	}
	return f
}

// endpoint is what plugins hold for us of one endpoint.
type endpoint struct {
	Network      model.NetworkID
	Driver, IPAM string
	Name         string // of the container
	Publish      []model.PortSpec
	Leases       []lease
	// Made, Joined and Told say what the driver may know: of it, where it is, and of a way
	// out by it.
	Made, Joined, Told bool
	Complete, Leaving  bool
	Fact               facts.Endpoint
}

// lease is an address that was requested.
type lease struct {
	Pool string
	Addr netip.Addr
}

// journal keeps what plugins hold, a file for each owner, and all of it in memory.
type journal struct {
	folder string

	mu   sync.Mutex // guards what follows
	nets map[model.NetworkID]network
	ends map[model.EndpointID]endpoint
}

// maxRecord bounds a file, in bytes.
const maxRecord = 4 << 20

// files are what the journal's files are called.
var files = regexp.MustCompile(`^(network|endpoint)-[0-9a-f]{64}\.json$`)

func openJournal(folder string, log *slog.Logger) (*journal, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	j := &journal{folder: folder, nets: map[model.NetworkID]network{}, ends: map[model.EndpointID]endpoint{}}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if !files.MatchString(e.Name()) {
			if strings.HasSuffix(e.Name(), ".new") { // a crash left it
				err = errors.Join(err, os.Remove(path))
			}
			continue
		}
		if err := j.load(path); err != nil {
			log.Error("what a plugin holds cannot be read, and is not told to it any more", "op", "plugin.journal", "file", path, "err", err)
		}
	}
	return j, err
}

func (j *journal) load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return err
	}
	if len(raw) > maxRecord {
		return fmt.Errorf("it is longer than %d bytes", maxRecord)
	}
	name := strings.TrimSuffix(filepath.Base(path), ".json")
	if id, ok := strings.CutPrefix(name, "network-"); ok {
		var n network
		if err := json.Unmarshal(raw, &n); err != nil {
			return err
		}
		n.Record.ID = model.NetworkID(id)
		n.Leaving = n.Leaving || !n.Complete
		j.nets[n.Record.ID] = n
		return nil
	}
	var e endpoint
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	e.Fact.ID = model.EndpointID(strings.TrimPrefix(name, "endpoint-"))
	e.Leaving = e.Leaving || !e.Complete
	j.ends[e.Fact.ID] = e
	return nil
}

func (j *journal) network(id model.NetworkID) (network, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, ok := j.nets[id]
	return n, ok
}

func (j *journal) endpoint(id model.EndpointID) (endpoint, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.ends[id]
	return e, ok
}

// networks returns all, ordered by ID; endpoints likewise.
func (j *journal) networks() []network {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.SortedFunc(maps.Values(j.nets), func(a, b network) int { return cmp.Compare(a.Record.ID, b.Record.ID) })
}

func (j *journal) endpoints() []endpoint {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.SortedFunc(maps.Values(j.ends), func(a, b endpoint) int { return cmp.Compare(a.Fact.ID, b.Fact.ID) })
}

func (j *journal) putNetwork(n network) error {
	if err := j.write("network-"+string(n.Record.ID), n); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.nets[n.Record.ID] = n
	return nil
}

func (j *journal) putEndpoint(e endpoint) error {
	if err := j.write("endpoint-"+string(e.Fact.ID), e); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ends[e.Fact.ID] = e
	return nil
}

func (j *journal) dropNetwork(id model.NetworkID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.nets, id)
	return gone(os.Remove(filepath.Join(j.folder, "network-"+string(id)+".json")))
}

func (j *journal) dropEndpoint(id model.EndpointID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.ends, id)
	return gone(os.Remove(filepath.Join(j.folder, "endpoint-"+string(id)+".json")))
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// write puts a record into its file, whole or not at all.
func (j *journal) write(name string, record any) error {
	if !files.MatchString(name + ".json") {
		return fmt.Errorf("%.80q is no record's name", name)
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	path := filepath.Join(j.folder, name+".json")
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, gone(os.Remove(path+".new")))
	}
	return nil
}
