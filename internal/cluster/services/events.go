package services

import (
	"context"
	"strconv"
	"strings"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/model"
)

// Follow publishes what happens to objects of the swarm, until ctx ends or the manager
// answers no more, and returns why.
func Follow(ctx context.Context, m swarm.Manager, publish func(events.Message)) error {
	const any = api.WatchActionKindCreate | api.WatchActionKindUpdate | api.WatchActionKindRemove
	request := &api.WatchRequest{IncludeOldObject: true}
	for _, kind := range [...]string{"node", "service", "network", "secret", "config"} {
		request.Entries = append(request.Entries, &api.WatchRequest_WatchEntry{Kind: kind, Action: any})
	}
	stream, err := m.Watch().Watch(ctx, request)
	if err != nil {
		return err
	}
	for {
		got, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, e := range got.Events {
			if message, ok := messageOf(e, time.Now()); ok {
				publish(message)
			}
		}
	}
}

var actions = map[api.WatchActionKind]events.Action{
	api.WatchActionKindCreate: events.ActionCreate, api.WatchActionKindUpdate: events.ActionUpdate, api.WatchActionKindRemove: events.ActionRemove,
}

// messageOf translates a change; false if Docker has no word for it.
func messageOf(e *api.WatchMessage_Event, now time.Time) (events.Message, bool) {
	action, known := actions[e.Action]
	if !known || e.Object == nil {
		return events.Message{}, false
	}
	var meta api.Meta
	out := events.Message{Action: action, Scope: model.ScopeSwarm}
	name := func(id string, kind events.Type, m api.Meta, name string) {
		meta, out.Type, out.Actor = m, kind, events.Actor{ID: id, Attributes: map[string]string{"name": name}}
	}
	switch o := e.Object.Object.(type) {
	case *api.Object_Node:
		shown := o.Node.Spec.Annotations.Name
		if shown == "" && o.Node.Description != nil {
			shown = o.Node.Description.Hostname
		}
		name(o.Node.ID, events.NodeEventType, o.Node.Meta, shown)
		if old := e.OldObject.GetNode(); old != nil && action == events.ActionUpdate {
			nodeChanges(o.Node, old, out.Actor.Attributes)
		}
	case *api.Object_Service:
		name(o.Service.ID, events.ServiceEventType, o.Service.Meta, o.Service.Spec.Annotations.Name)
		if old := e.OldObject.GetService(); old != nil && action == events.ActionUpdate {
			serviceChanges(o.Service, old, out.Actor.Attributes)
		}
	case *api.Object_Network:
		name(o.Network.ID, events.NetworkEventType, o.Network.Meta, o.Network.Spec.Annotations.Name)
	case *api.Object_Secret:
		name(o.Secret.ID, events.SecretEventType, o.Secret.Meta, o.Secret.Spec.Annotations.Name)
	case *api.Object_Config:
		name(o.Config.ID, events.ConfigEventType, o.Config.Meta, o.Config.Spec.Annotations.Name)
	default:
		return events.Message{}, false
	}
	at := now
	if stamp := map[events.Action]*gogotypes.Timestamp{events.ActionCreate: meta.CreatedAt, events.ActionUpdate: meta.UpdatedAt}[action]; stamp != nil {
		at, _ = gogotypes.TimestampFromProto(stamp)
	}
	out.Time, out.TimeNano = at.Unix(), at.UnixNano()
	return out, true
}

// noteChange notes what a field was and is, if it has changed.
func noteChange(to map[string]string, field, was, is string) {
	if was != is {
		to[field+".old"], to[field+".new"] = was, is
	}
}

func nodeChanges(n, old *api.Node, to map[string]string) {
	lower := func(s interface{ String() string }) string { return strings.ToLower(s.String()) }
	noteChange(to, "availability", lower(old.Spec.Availability), lower(n.Spec.Availability))
	noteChange(to, "role", lower(old.Role), lower(n.Role))
	noteChange(to, "state", lower(old.Status.State), lower(n.Status.State))
	if now, was := n.ManagerStatus, old.ManagerStatus; now != nil && was != nil {
		noteChange(to, "leader", strconv.FormatBool(was.Leader), strconv.FormatBool(now.Leader))
		noteChange(to, "reachability", lower(was.Reachability), lower(now.Reachability))
	}
}

func serviceChanges(s, old *api.Service, to map[string]string) {
	if now, was := s.Spec.Task.GetContainer(), old.Spec.Task.GetContainer(); now != nil && was != nil {
		noteChange(to, "image", was.Image, now.Image)
	}
	if now, was := s.Spec.GetReplicated(), old.Spec.GetReplicated(); now != nil && was != nil {
		noteChange(to, "replicas", strconv.FormatUint(was.Replicas, 10), strconv.FormatUint(now.Replicas, 10))
	}
	switch now, was := s.UpdateStatus, old.UpdateStatus; {
	case now == nil:
	case was == nil:
		to["updatestate.new"] = strings.ToLower(now.State.String())
	default:
		noteChange(to, "updatestate", strings.ToLower(was.State.String()), strings.ToLower(now.State.String()))
	}
}
