package swarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/ioutils"
)

// Config is what a node is started with. It is stored as Docker stores it, with what
// is for one start left out.
type Config struct {
	// LocalAddr is the address of this host by which it reaches the others.
	LocalAddr string
	// RemoteAddr is the manager that a join was asked for at.
	RemoteAddr string
	// ListenAddr is where the manager listens; with a port.
	ListenAddr string
	// AdvertiseAddr is where others reach the manager; with a port. Empty where they
	// find out.
	AdvertiseAddr string
	// DataPathAddr is where others send what containers send; empty: as AdvertiseAddr.
	DataPathAddr string
	// DefaultAddressPool is where subnets of new networks are cut from, each with
	// SubnetSize bits.
	DefaultAddressPool []netip.Prefix
	SubnetSize         uint32
	DataPathPort       uint32
	// JoinInProgress says that a join has begun and not ended.
	JoinInProgress bool

	JoinAddr        string                 `json:"-"`
	JoinToken       string                 `json:"-"`
	ForceNewCluster bool                   `json:"-"`
	UnlockKey       []byte                 `json:"-"`
	AutoLock        bool                   `json:"-"`
	Availability    swarm.NodeAvailability `json:"-"`
}

// advertised returns the address by which others reach the node, without a port.
func (c Config) advertised() string {
	host, _, err := net.SplitHostPort(c.AdvertiseAddr)
	if err != nil {
		return ""
	}
	return host
}

const (
	stateFile       = "docker-state.json"
	certificateFile = "certificates/swarm-node.crt"
	// maxState bounds what is read of the stored state, in bytes.
	maxState = 1 << 20
)

// Load returns what the node of this host was started with; false if it is of no
// swarm. What a join has left that never got a certificate is removed.
func Load(folder string) (Config, bool, error) {
	path := filepath.Join(folder, stateFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, false, nil
	}
	if err != nil {
		return Config{}, false, err
	}
	if info.Size() > maxState {
		return Config{}, false, fmt.Errorf("%s has %d bytes: it is none of ours", path, info.Size())
	}
	if _, err := os.Stat(filepath.Join(folder, certificateFile)); errors.Is(err, fs.ErrNotExist) {
		return Config{}, false, Clear(folder)
	} else if err != nil {
		return Config{}, false, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, false, err
	}
	var c Config
	if err := json.Unmarshal(text, &c); err != nil {
		return Config{}, false, fmt.Errorf("read %s: %w", path, err)
	}
	return c, true, nil
}

// save stores what a node is started with.
func save(folder string, c Config) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return ioutils.AtomicWriteFile(filepath.Join(folder, stateFile), text, 0o600)
}

// Clear removes all that a node has stored. The folder itself stays: it may be a mount.
func Clear(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var failed []error
	for _, e := range entries {
		failed = append(failed, os.RemoveAll(filepath.Join(folder, e.Name())))
	}
	return errors.Join(failed...)
}
