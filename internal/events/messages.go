package events

import (
	"maps"
	"strconv"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

// Network returns what is said when something happens to a network. Attributes are
// pairs of name and value besides the network's name and type.
func Network(action events.Action, n model.Network, pairs ...string) Message {
	return message(events.NetworkEventType, action, string(n.ID), map[string]string{"name": n.Name, "type": n.Driver}, pairs)
}

// Joined returns what is said when the container with an ID, or what stands for one, has
// joined a network.
func Joined(n model.Network, id string) Message {
	return Network(events.ActionConnect, n, "container", id)
}

// Left returns what is said when it has left again.
func Left(n model.Network, id string) Message {
	return Network(events.ActionDisconnect, n, "container", id)
}

// Image returns what is said when something happens to an image, under the name by
// which it was asked for.
func Image(action events.Action, id model.ImageID, name string) Message {
	return message(events.ImageEventType, action, string(id), map[string]string{"name": name}, nil)
}

// BuildCachePruned returns what is said when so many bytes of the build cache were removed.
func BuildCachePruned(bytes int64) Message {
	return message(events.BuilderEventType, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatInt(bytes, 10)}, nil)
}

// Volume returns what is said when something happens to a volume. Attributes are pairs of
// name and value besides the volume's driver.
func Volume(action events.Action, v model.Volume, pairs ...string) Message {
	return message(events.VolumeEventType, action, v.Name, map[string]string{"driver": v.Driver}, pairs)
}

// Container returns what is said when something happens to a container. Attributes
// are the container's labels, and pairs of name and value.
func Container(action events.Action, id model.ContainerID, labels map[string]string, pairs ...string) Message {
	attributes := maps.Clone(labels)
	if attributes == nil {
		attributes = map[string]string{}
	}
	return message(events.ContainerEventType, action, string(id), attributes, pairs)
}

// Pruned returns what is said after a prune of objects of a type, which freed that
// many bytes.
func Pruned(of events.Type, reclaimed uint64) Message {
	return message(of, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(reclaimed, 10)}, nil)
}

// Reloaded returns what is said when the daemon called id has new settings.
func Reloaded(id string, settings map[string]string) Message {
	return message(events.DaemonEventType, events.ActionReload, id, settings, nil)
}

// ActionRepair is what is said when something that somebody else had changed was put
// right. Docker has no such word.
const ActionRepair events.Action = "repair"

// Repaired returns what is said when the daemon called id has put right what somebody
// else had changed. Attributes are pairs of name and value.
func Repaired(id string, pairs ...string) Message {
	return message(events.DaemonEventType, ActionRepair, id, map[string]string{}, pairs)
}

// Leased returns what is said of a container's address of a DHCP server: that it has
// another one, or has lost it, and why.
func Leased(n model.Network, sb model.Sandbox, action, address, why string) Message {
	pairs := []string{"name", n.Name, "type", n.Driver, "container", string(sb.Container), "address", address}
	if why != "" {
		pairs = append(pairs, "why", why)
	}
	return message(events.NetworkEventType, events.Action(action), string(n.ID), map[string]string{}, pairs)
}

// What is said of other people's plugins. Docker has no such words.
const (
	ActionLost     events.Action = "lost"
	ActionReturned events.Action = "returned"
)

// Plugin returns what is said when a plugin that networks use cannot be reached any more,
// and why, or is there again.
func Plugin(action events.Action, name, address, why string) Message {
	pairs := []string{"name", name, "address", address}
	if why != "" {
		pairs = append(pairs, "why", why)
	}
	return message(events.PluginEventType, action, name, map[string]string{}, pairs)
}

func message(kind events.Type, action events.Action, id string, attributes map[string]string, pairs []string) Message {
	for i := 0; i+1 < len(pairs); i += 2 {
		attributes[pairs[i]] = pairs[i+1]
	}
	return Message{Type: kind, Action: action, Actor: events.Actor{ID: id, Attributes: attributes}}
}
