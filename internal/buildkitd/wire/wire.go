// Package wire has the words between linkspand and linkspan-buildkitd: what the program
// is told when it starts, and what it is asked over its socket.
//
//	POST /grpc, /session   taken over, as Docker's API has them
//	POST /build            ?options=Build, the context as the body ─▶ lines of Docker's progress
//	POST /prune            Prune ─▶ Pruned
//	GET  /usage            ─▶ []Record
//	GET  /images           ─▶ a line of Image for every image that is made, until the program ends
//
// An error before the answer has begun is a line of text, with the status of its kind. The
// package decides nothing.
package wire

import (
	"net/netip"
	"time"
)

// Paths of requests.
const (
	PathControl = "/grpc"
	PathSession = "/session"
	PathBuild   = "/build"
	PathPrune   = "/prune"
	PathUsage   = "/usage"
	PathImages  = "/images"
)

// Config is the first line on the program's standard input, as JSON. The program ends when
// its standard input does.
type Config struct {
	Socket string // to answer on
	// DataRoot keeps the cache, ExecRoot what must not survive a reboot.
	DataRoot, ExecRoot string
	// Containerd is the socket, Namespace and Snapshotter what is used of it.
	Containerd, Namespace, Snapshotter string
	// Private is the daemon's private socket, by which build steps join Network.
	Private, Network string
	Instance         string // marks what is ours in the kernel
	// Anchor begins the name of the record that keeps an image without a name.
	Anchor string
	// CgroupParent is where build steps get their cgroups; AppArmor is their profile, or
	// empty.
	CgroupParent, AppArmor string
	DNS                    DNS
	HostGateways           []netip.Addr // what host-gateway stands for in --add-host
	Registries             Registries
}

// DNS is what stands in build steps for the host's.
type DNS struct{ Servers, Search, Options []string }

// Registries is how registries are reached.
type Registries struct {
	Insecure, Mirrors              []string
	HTTPProxy, HTTPSProxy, NoProxy string
	UserAgent                      string
}

// Build is a build whose client speaks no gRPC.
type Build struct {
	Dockerfile string            `json:",omitempty"` // path in the context
	Remote     string            `json:",omitempty"` // URL of the context, if it is not the body
	Session    string            `json:",omitempty"`
	Tags       []string          `json:",omitempty"`
	Target     string            `json:",omitempty"`
	Platform   string            `json:",omitempty"`
	Network    string            `json:",omitempty"`
	Args       map[string]string `json:",omitempty"`
	Labels     map[string]string `json:",omitempty"`
	Hosts      []string          `json:",omitempty"` // "name:address"
	CacheFrom  []string          `json:",omitempty"`
	Ulimits    []string          `json:",omitempty"` // "nofile=1024:2048"
	ShmSize    int64             `json:",omitempty"` // bytes
	// Limits of every step, in Docker's units.
	Memory, MemorySwap, CPUShares, CPUPeriod, CPUQuota int64    `json:",omitzero"`
	CPUs, MemoryNodes, CgroupParent                    string   `json:",omitempty"`
	NoCache, Pull                                      bool     `json:",omitempty"`
	Outputs                                            []Output `json:",omitempty"`
	// Trace asks for BuildKit's own messages, Quiet for the image's ID alone; else there
	// is text.
	Trace, Quiet bool `json:",omitempty"`
	// Auth are credentials by registry.
	Auth map[string]Auth `json:",omitempty"`
}

// Output is where the result goes instead of to the images.
type Output struct {
	Type  string
	Attrs map[string]string
}

// Auth is what a client sent to be shown to a registry.
type Auth struct{ Username, Password, IdentityToken string }

// Prune asks for what is in the cache and not in use to be removed.
type Prune struct {
	All                             bool
	Filters                         []string // all must hold, in BuildKit's words
	KeepFor                         time.Duration
	ReservedSpace, MaxUsed, MinFree int64 // bytes
}

// Pruned is what was removed.
type Pruned struct {
	IDs   []string
	Bytes int64
}

// Record is an entry of the cache.
type Record struct {
	ID, Type, Description string
	Parents               []string
	InUse, Shared         bool
	Size                  int64 // bytes
	Created               time.Time
	LastUsed              *time.Time
	Uses                  int
}

// Image is one that was made.
type Image struct {
	ID    string   // digest of the configuration
	Names []string // "docker.io/library/app:latest"
}
