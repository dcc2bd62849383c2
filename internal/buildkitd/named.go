package buildkitd

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// namedNetworks are those that builds under way have asked for by name (docker build --network NAME). A step of BuildKit's
// does not say which network it wants, only whether it wants one; but it says what its host is called. So each network
// stands for a hostname, by which the cache too tells steps on one network from those on another.
type namedNetworks struct {
	mu sync.Mutex
	of map[string]*namedNetwork // by hostname
}

type namedNetwork struct {
	name   string
	builds int
}

// hostnameOn is what hosts of steps on a network are called: as many digits as the docker command shows of a container's
// ID, after which the host of a step is called with Docker.
func hostnameOn(network string) string {
	sum := sha256.Sum256([]byte(network))
	return hex.EncodeToString(sum[:6])
}

// hold keeps a network known until release is called.
func (n *namedNetworks) hold(network string) (release func()) {
	hostname := hostnameOn(network)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = map[string]*namedNetwork{}
	}
	one := n.of[hostname]
	if one == nil {
		one = &namedNetwork{name: network}
		n.of[hostname] = one
	}
	one.builds++
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if one.builds--; one.builds == 0 {
			delete(n.of, hostname)
		}
	}
}

// at returns the network that a hostname stands for.
func (n *namedNetworks) at(hostname string) (network string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	one := n.of[hostname]
	if one == nil {
		return "", false
	}
	return one.name, true
}

// ownNetwork returns the name of the user's network that steps of a build are to be on; empty: none.
func ownNetwork(mode string) string {
	switch mode {
	case "", "default", "bridge", "host", "none":
		return ""
	}
	return mode
}
