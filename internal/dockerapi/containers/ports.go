package containers

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

// translatePorts puts a binding that says nothing, which means any port of the host,
// where a port has an empty list of bindings. From 1.52 on Docker warns of it.
func translatePorts(v httpkit.Version, _ createBody, out containerhub.CreateRequest) (warning string, err error) {
	var empty []string
	for port, bindings := range out.Host.PortBindings {
		if len(bindings) == 0 {
			empty = append(empty, port.String())
		}
	}
	if len(empty) == 0 {
		return "", nil
	}
	all := maps.Clone(out.Host.PortBindings)
	for port, bindings := range all {
		if len(bindings) == 0 {
			all[port] = []network.PortBinding{{}}
		}
	}
	out.Host.PortBindings = all
	if v < 52 {
		return "", nil
	}
	slices.Sort(empty)
	return fmt.Sprintf("Following container port(s) have an empty list of port-bindings: %s. Such bindings will be discarded in a future version.", strings.Join(empty, ", ")), nil
}
