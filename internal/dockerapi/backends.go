package dockerapi

import (
	servicehub "github.com/linkspan/linkspan/internal/cluster/services"
	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/build"
	"github.com/linkspan/linkspan/internal/dockerapi/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/exec"
	"github.com/linkspan/linkspan/internal/dockerapi/images"
	"github.com/linkspan/linkspan/internal/dockerapi/networks"
	"github.com/linkspan/linkspan/internal/dockerapi/plugins"
	"github.com/linkspan/linkspan/internal/dockerapi/registries"
	"github.com/linkspan/linkspan/internal/dockerapi/services"
	"github.com/linkspan/linkspan/internal/dockerapi/swarm"
	"github.com/linkspan/linkspan/internal/dockerapi/system"
	"github.com/linkspan/linkspan/internal/dockerapi/volumes"
	"github.com/linkspan/linkspan/internal/events"
	imagehub "github.com/linkspan/linkspan/internal/images"
	networkhub "github.com/linkspan/linkspan/internal/networks"
	swarmhub "github.com/linkspan/linkspan/internal/swarm"
	volumehub "github.com/linkspan/linkspan/internal/volumes"
)

// Backends is everything the door passes requests on to, as the resources declare
// it. All are needed.
type Backends struct {
	Containers  containers.Containers
	Lifecycle   containers.Lifecycle
	Control     containers.Control
	Archive     containers.Archive
	Stats       containers.Stats
	Commits     containers.Commits
	Endpoints   containers.Endpoints
	Execs       exec.Execs
	Images      images.Images
	Transfer    images.Transfer
	Mover       images.Mover
	Registries  registries.Registries
	Networks    networks.Networks
	Memberships networks.Memberships
	Volumes     volumes.Volumes
	Usage       system.Containers
	VolumeUsage system.Volumes
	Events      system.Events
	// Drivers returns the kinds of networks there are.
	Drivers func() []string
	Plugins plugins.Plugins // nil: there are none
	Swarm   swarm.Backend
	Builder build.Builder
	// Publisher is told what becomes of the build cache.
	Publisher build.Events
	// Membership is what is shown of the swarm everywhere.
	Membership system.Swarm
	Services   services.Options
}

// Hubs are the hubs that the door passes requests on to.
type Hubs struct {
	Containers *containerhub.Manager
	Images     *imagehub.Manager
	Networks   *networkhub.Manager
	Volumes    *volumehub.Manager
	Swarm      *swarmhub.Manager
}

// BackendsOf returns the backends that the hubs make up, and the way to registries.
func BackendsOf(h Hubs, bus *events.Bus, r registries.Registries) Backends {
	m, i, n, v := h.Containers, h.Images, h.Networks, h.Volumes
	return Backends{
		Containers: m, Lifecycle: m, Control: m, Archive: m.Archive, Stats: m.Stats, Commits: m.Commits, Endpoints: n, Execs: m.Execs(), Images: i, Transfer: i, Mover: i, Registries: r,
		Networks: n, Memberships: m, Volumes: v, Usage: m, VolumeUsage: v, Events: bus, Publisher: bus, Drivers: n.Drivers,
		Swarm: h.Swarm, Membership: h.Swarm,
	}
}

// ServicesOf returns the backends of services, tasks, secrets and configs of a swarm.
func ServicesOf(o servicehub.Options) services.Options {
	s := servicehub.New(o)
	return services.Options{Services: s, Tasks: s, Secrets: servicehub.NewSecrets(o), Configs: servicehub.NewConfigs(o)}
}
