package migrate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

// Kind is what a step is about.
type Kind string

// The kinds, in the order in which they are done.
const (
	KindNetwork   Kind = "network"
	KindVolume    Kind = "volume"
	KindContainer Kind = "container"
)

// Step is what is to become of one thing.
type Step struct {
	Kind Kind
	Name string
	// Why says why nothing is to be done; empty: it is to be made.
	Why string
	// Note is what somebody should know of one that is to be made.
	Note string

	Network   client.NetworkCreateOptions   // of a network that is to be made
	Container client.ContainerCreateOptions // of a container
}

// Here is what there is where things are to be made, by name.
type Here struct {
	Networks, Volumes, Containers, Images map[string]bool
}

// isHere is why what is there already is left alone.
const isHere = "is here already, and stays as it is"

// predefined are networks that every engine makes by itself.
var predefined = []string{network.NetworkBridge, network.NetworkHost, network.NetworkNone, "docker_gwbridge"}

// Plan returns what is to be done, a step for each thing: networks and volumes by name, then containers, each after those that it
// names. It is pure.
func Plan(d Definitions, here Here) []Step {
	var out []Step
	networks, volumes := slices.Clone(d.Networks), slices.Clone(d.Volumes)
	slices.SortFunc(networks, func(a, b network.Summary) int {
		return cmp.Or(cmp.Compare(configFirst(a), configFirst(b)), cmp.Compare(a.Name, b.Name))
	})
	for _, n := range networks {
		if !slices.Contains(predefined, n.Name) {
			out = append(out, networkStep(n, here))
		}
	}
	slices.SortFunc(volumes, func(a, b volume.Volume) int { return cmp.Compare(a.Name, b.Name) })
	for _, v := range volumes {
		s := Step{Kind: KindVolume, Name: v.Name}
		switch {
		case here.Volumes[v.Name]:
			s.Why = isHere
		case v.Driver != "local":
			s.Why = "volumes of the driver " + v.Driver + " are not supported"
		case d.Root == "":
			s.Why = "it is not known where its data lies: name the data root with --root"
		}
		out = append(out, s)
	}
	return append(out, containerSteps(d, here)...)
}

// configFirst sorts networks from which others take their configuration before those.
func configFirst(n network.Summary) int {
	if n.ConfigOnly {
		return 0
	}
	return 1
}

func networkStep(n network.Summary, here Here) Step {
	s := Step{Kind: KindNetwork, Name: n.Name}
	switch {
	case here.Networks[n.Name]:
		s.Why = isHere
		return s
	case n.Scope == "swarm" || n.Ingress:
		s.Why = "it is a swarm's: make the swarm anew, and its networks with it"
		return s
	}
	s.Network = client.NetworkCreateOptions{
		Driver: n.Driver, EnableIPv4: &n.EnableIPv4, EnableIPv6: &n.EnableIPv6, Internal: n.Internal, Attachable: n.Attachable,
		ConfigOnly: n.ConfigOnly, Options: n.Options, Labels: n.Labels,
	}
	if from := n.ConfigFrom.Network; from != "" {
		s.Network.ConfigFrom, s.Network.EnableIPv4, s.Network.EnableIPv6, s.Network.Options = from, nil, nil, nil
		return s
	}
	ipam := n.IPAM
	ipam.Config = nil
	for _, c := range n.IPAM.Config { // an engine of before 29 shows a gateway even where there is none
		if c.Subnet.IsValid() {
			ipam.Config = append(ipam.Config, c)
		}
	}
	s.Network.IPAM = &ipam
	return s
}

// shortID is how much of an ID engines show where room is short.
const shortID = 12

// containerSteps returns the steps of containers. One that names another, as its network, link or origin of volumes, comes after it.
func containerSteps(d Definitions, here Here) []Step {
	names := map[string]string{} // of containers and networks, by ID
	for _, n := range d.Networks {
		names[n.ID] = n.Name
	}
	for _, c := range d.Containers {
		names[c.ID] = strings.TrimPrefix(c.Name, "/")
	}
	var made []translated
	for _, c := range d.Containers {
		made = append(made, translate(c, names))
	}
	slices.SortFunc(made, func(a, b translated) int { return cmp.Compare(a.options.Name, b.options.Name) })
	done, out := map[string]bool{}, []Step(nil)
	for len(made) > 0 {
		rest := made[:0:0]
		for _, t := range made {
			if slices.ContainsFunc(t.needs, func(name string) bool {
				return !done[name] && slices.ContainsFunc(made, func(o translated) bool { return o.options.Name == name && name != t.options.Name })
			}) {
				rest = append(rest, t)
				continue
			}
			done[t.options.Name] = true
			out = append(out, t.step(here))
		}
		if len(rest) == len(made) { // they name each other: the engine will say what is wrong
			for _, t := range rest {
				out = append(out, t.step(here))
			}
			break
		}
		made = rest
	}
	return out
}

func (t translated) step(here Here) Step {
	s := Step{Kind: KindContainer, Name: t.options.Name, Container: t.options}
	switch {
	case here.Containers[t.options.Name]:
		s.Why = isHere
	case t.swarm:
		s.Why = "it is a task of a swarm, which makes it anew by itself"
	case !here.Images[t.options.Config.Image]:
		s.Why = "its image " + t.options.Config.Image + " is not here: pull or load it, then do this again"
	case t.running:
		s.Note = "it ran: linkspan start " + t.options.Name
	}
	return s
}
