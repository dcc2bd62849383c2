package runtime

import (
	"strings"

	"github.com/linkspan/linkspan/internal/runtime/imagestore"
)

// Access is what another program needs to make containers and images beside ours.
type Access struct {
	// Containerd is the socket, Namespace and Snapshotter what we use of it.
	Containerd, Namespace, Snapshotter string
	// Anchor is the name, less a digest, of the record that keeps an image.
	Anchor string
	// AppArmor is the profile of containers; empty where there is none.
	AppArmor string
}

// Access returns how another program gets at what is ours.
func (r *Runtime) Access() Access {
	return Access{
		Containerd: r.client.Address, Namespace: r.client.Namespace, Snapshotter: r.client.Snapshotter,
		Anchor: strings.TrimSuffix(imagestore.AnchorPrefix, "@"), AppArmor: r.Containers.host.AppArmorProfile(),
	}
}
