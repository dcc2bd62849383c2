package convert

import (
	"errors"
	"fmt"
	"strings"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/api/genericresource"
)

// Task translates a task.
func Task(t *api.Task) swarm.Task {
	out := swarm.Task{
		ID: t.ID, Meta: metaOf(t.Meta), Annotations: annotationsOf(t.Annotations),
		Spec: taskSpecOf(&t.Spec), ServiceID: t.ServiceID, Slot: int(t.Slot), NodeID: t.NodeID,
		Status: swarm.TaskStatus{
			Timestamp: timeOf(t.Status.Timestamp), State: taskState(t.Status.State), Message: t.Status.Message, Err: t.Status.Err,
		},
		DesiredState:        taskState(t.DesiredState),
		NetworksAttachments: each(t.Networks, attachmentOf),
		GenericResources:    GenericResources(t.AssignedGenericResources),
		Volumes: each(t.Volumes, func(v *api.VolumeAttachment) swarm.VolumeAttachment {
			return swarm.VolumeAttachment{ID: v.ID, Source: v.Source, Target: v.Target}
		}),
	}
	if c := t.Status.GetContainer(); c != nil {
		out.Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: c.ContainerID, PID: int(c.PID), ExitCode: int(c.ExitCode)}
	}
	if p := t.Status.PortStatus; p != nil {
		out.Status.PortStatus.Ports = each(p.Ports, portOf)
	}
	if t.JobIteration != nil {
		out.JobIteration = &swarm.Version{Index: t.JobIteration.Index}
	}
	return out
}

func taskState(s api.TaskState) swarm.TaskState { return swarm.TaskState(strings.ToLower(s.String())) }

// taskSpecOf translates what a task is to be.
func taskSpecOf(s *api.TaskSpec) swarm.TaskSpec {
	out := swarm.TaskSpec{
		Resources: resourcesOf(s), RestartPolicy: restartPolicyOf(s.Restart), Placement: placementOf(s.Placement),
		Networks: each(s.Networks, networkConfigOf), LogDriver: driverOf(s.LogDriver), ForceUpdate: s.ForceUpdate,
	}
	if c := s.GetContainer(); c != nil {
		out.ContainerSpec = ContainerSpec(c)
	}
	if a := s.GetAttachment(); a != nil {
		out.NetworkAttachmentSpec = &swarm.NetworkAttachmentSpec{ContainerID: a.ContainerID}
		out.Runtime = swarm.RuntimeNetworkAttachment
	}
	return out
}

// taskSpec translates what the tasks of a service are to be: containers, always.
func taskSpec(s swarm.TaskSpec) (api.TaskSpec, error) {
	out := api.TaskSpec{
		LogDriver: driver(s.LogDriver), ForceUpdate: s.ForceUpdate,
		Networks: each(s.Networks, func(n swarm.NetworkAttachmentConfig) *api.NetworkAttachmentConfig {
			return &api.NetworkAttachmentConfig{Target: n.Target, Aliases: n.Aliases, DriverAttachmentOpts: n.DriverOpts}
		}),
		Placement: placement(s.Placement),
	}
	var err error
	if out.Resources, err = resources(s.Resources); err != nil {
		return api.TaskSpec{}, err
	}
	switch {
	case s.Runtime != "" && s.Runtime != swarm.RuntimeContainer:
		return api.TaskSpec{}, errUnsupportedRuntime
	case s.ContainerSpec == nil:
		return api.TaskSpec{}, errMismatchedRuntime
	}
	c, err := containerSpec(s.ContainerSpec)
	if err != nil {
		return api.TaskSpec{}, err
	}
	if s.Resources != nil && s.Resources.Limits != nil {
		c.PidsLimit = s.Resources.Limits.Pids // swarmkit has it there
	}
	out.Runtime = &api.TaskSpec_Container{Container: c}
	out.Restart, err = restartPolicy(s.RestartPolicy)
	return out, err
}

func resourcesOf(s *api.TaskSpec) *swarm.ResourceRequirements {
	pids := int64(0)
	if c := s.GetContainer(); c != nil {
		pids = c.PidsLimit
	}
	if s.Resources == nil && pids == 0 {
		return nil
	}
	out := &swarm.ResourceRequirements{}
	if pids != 0 {
		out.Limits = &swarm.Limit{Pids: pids}
	}
	if s.Resources == nil {
		return out
	}
	if l := s.Resources.Limits; l != nil {
		out.Limits = &swarm.Limit{NanoCPUs: l.NanoCPUs, MemoryBytes: l.MemoryBytes, Pids: pids}
	}
	if r := s.Resources.Reservations; r != nil {
		out.Reservations = &swarm.Resources{NanoCPUs: r.NanoCPUs, MemoryBytes: r.MemoryBytes, GenericResources: GenericResources(r.Generic)}
	}
	if v := s.Resources.SwapBytes; v != nil {
		out.SwapBytes = &v.Value
	}
	if v := s.Resources.MemorySwappiness; v != nil {
		out.MemorySwappiness = &v.Value
	}
	return out
}

func resources(r *swarm.ResourceRequirements) (*api.ResourceRequirements, error) {
	if r == nil {
		return nil, nil
	}
	out := &api.ResourceRequirements{}
	if l := r.Limits; l != nil {
		out.Limits = &api.Resources{NanoCPUs: l.NanoCPUs, MemoryBytes: l.MemoryBytes}
	}
	if v := r.Reservations; v != nil {
		out.Reservations = &api.Resources{NanoCPUs: v.NanoCPUs, MemoryBytes: v.MemoryBytes, Generic: genericResources(v.GenericResources)}
	}
	if v := r.SwapBytes; v != nil {
		out.SwapBytes = &gogotypes.Int64Value{Value: *v}
	}
	if v := r.MemorySwappiness; v != nil {
		out.MemorySwappiness = &gogotypes.Int64Value{Value: *v}
	}
	if out.SwapBytes != nil && (out.Limits == nil || out.Limits.MemoryBytes == 0) {
		return nil, errors.New("memory swap provided, but no memory-limit was set")
	}
	return out, nil
}

// GenericResources translates resources that users have named.
func GenericResources(list []*api.GenericResource) []swarm.GenericResource {
	return each(list, func(r *api.GenericResource) (out swarm.GenericResource) {
		if d := r.GetDiscreteResourceSpec(); d != nil {
			out.DiscreteResourceSpec = &swarm.DiscreteGenericResource{Kind: d.Kind, Value: d.Value}
		}
		if n := r.GetNamedResourceSpec(); n != nil {
			out.NamedResourceSpec = &swarm.NamedGenericResource{Kind: n.Kind, Value: n.Value}
		}
		return out
	})
}

// genericResources leaves out what is neither counted nor named.
func genericResources(list []swarm.GenericResource) (out []*api.GenericResource) {
	for _, r := range list {
		if d := r.DiscreteResourceSpec; d != nil {
			out = append(out, genericresource.NewDiscrete(d.Kind, d.Value))
		} else if n := r.NamedResourceSpec; n != nil {
			out = append(out, genericresource.NewString(n.Kind, n.Value))
		}
	}
	return out
}

var restartConditions = pairs[swarm.RestartPolicyCondition, api.RestartPolicy_RestartCondition]{
	{swarm.RestartPolicyConditionAny, api.RestartOnAny}, {swarm.RestartPolicyConditionOnFailure, api.RestartOnFailure},
	{swarm.RestartPolicyConditionNone, api.RestartOnNone},
}

func restartPolicyOf(p *api.RestartPolicy) *swarm.RestartPolicy {
	if p == nil {
		return nil
	}
	return &swarm.RestartPolicy{
		Condition: restartConditions.docker(p.Condition), Delay: optionalDuration(p.Delay), Window: optionalDuration(p.Window), MaxAttempts: &p.MaxAttempts,
	}
}

func restartPolicy(p *swarm.RestartPolicy) (*api.RestartPolicy, error) {
	if p == nil {
		return nil, nil
	}
	condition, ok := restartConditions.swarmkit(p.Condition)
	if !ok {
		return nil, fmt.Errorf("invalid RestartCondition: %q", p.Condition)
	}
	return &api.RestartPolicy{
		Condition: condition, Delay: optionalDurationProto(p.Delay), Window: optionalDurationProto(p.Window), MaxAttempts: valueOr(p.MaxAttempts, 0),
	}, nil
}

func placementOf(p *api.Placement) *swarm.Placement {
	if p == nil {
		return nil
	}
	out := &swarm.Placement{
		Constraints: p.Constraints, MaxReplicas: p.MaxReplicas,
		Platforms: each(p.Platforms, func(p *api.Platform) swarm.Platform { return swarm.Platform{Architecture: p.Architecture, OS: p.OS} }),
	}
	for _, preference := range p.Preferences {
		if s := preference.GetSpread(); s != nil {
			out.Preferences = append(out.Preferences, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: s.SpreadDescriptor}})
		}
	}
	return out
}

func placement(p *swarm.Placement) *api.Placement {
	if p == nil {
		return nil
	}
	out := &api.Placement{
		Constraints: p.Constraints, MaxReplicas: p.MaxReplicas,
		Platforms: each(p.Platforms, func(p swarm.Platform) *api.Platform { return &api.Platform{Architecture: p.Architecture, OS: p.OS} }),
	}
	for _, preference := range p.Preferences {
		if s := preference.Spread; s != nil {
			out.Preferences = append(out.Preferences, &api.PlacementPreference{Preference: &api.PlacementPreference_Spread{Spread: &api.SpreadOver{SpreadDescriptor: s.SpreadDescriptor}}})
		}
	}
	return out
}

func driverOf(d *api.Driver) *swarm.Driver {
	if d == nil {
		return nil
	}
	return &swarm.Driver{Name: d.Name, Options: d.Options}
}

func driver(d *swarm.Driver) *api.Driver {
	if d == nil {
		return nil
	}
	return &api.Driver{Name: d.Name, Options: d.Options}
}
