package convert

import (
	"errors"
	"fmt"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/model"
)

// Docker's words for specifications whose runtime and content do not fit together.
var (
	errUnsupportedRuntime = errors.New("unsupported runtime")
	errMismatchedRuntime  = errors.New("mismatched Runtime and *Spec fields")
)

// Service translates a service. Errors: its tasks are of a kind that has no form in
// Docker's API.
func Service(s *api.Service) (swarm.Service, error) {
	spec, err := serviceSpecOf(&s.Spec)
	if err != nil {
		return swarm.Service{}, err
	}
	out := swarm.Service{ID: s.ID, Meta: metaOf(s.Meta), Spec: *spec, Endpoint: endpointOf(s.Endpoint), UpdateStatus: updateStatusOf(s.UpdateStatus)}
	if s.PreviousSpec != nil {
		if out.PreviousSpec, err = serviceSpecOf(s.PreviousSpec); err != nil {
			return swarm.Service{}, err
		}
	}
	if j := s.JobStatus; j != nil {
		out.JobStatus = &swarm.JobStatus{JobIteration: swarm.Version{Index: j.JobIteration.Index}, LastExecution: timeOf(j.LastExecution)}
	}
	return out, nil
}

var updateStates = map[api.UpdateStatus_UpdateState]swarm.UpdateState{
	api.UpdateStatus_UPDATING: swarm.UpdateStateUpdating, api.UpdateStatus_PAUSED: swarm.UpdateStatePaused,
	api.UpdateStatus_COMPLETED: swarm.UpdateStateCompleted, api.UpdateStatus_ROLLBACK_STARTED: swarm.UpdateStateRollbackStarted,
	api.UpdateStatus_ROLLBACK_PAUSED: swarm.UpdateStateRollbackPaused, api.UpdateStatus_ROLLBACK_COMPLETED: swarm.UpdateStateRollbackCompleted,
}

func updateStatusOf(s *api.UpdateStatus) *swarm.UpdateStatus {
	if s == nil {
		return nil
	}
	out := &swarm.UpdateStatus{State: updateStates[s.State], Message: s.Message}
	if at := timeOf(s.StartedAt); !at.IsZero() && at.Unix() != 0 {
		out.StartedAt = &at
	}
	if at := timeOf(s.CompletedAt); !at.IsZero() && at.Unix() != 0 {
		out.CompletedAt = &at
	}
	return out
}

// serviceSpecOf translates the specification of a service that runs containers.
func serviceSpecOf(s *api.ServiceSpec) (*swarm.ServiceSpec, error) {
	if _, ok := s.Task.GetRuntime().(*api.TaskSpec_Container); !ok {
		return nil, fmt.Errorf("error creating service; unsupported runtime %T", s.Task.GetRuntime())
	}
	out := &swarm.ServiceSpec{
		Annotations: annotationsOf(s.Annotations), TaskTemplate: taskSpecOf(&s.Task),
		UpdateConfig: updateConfigOf(s.Update), RollbackConfig: updateConfigOf(s.Rollback), EndpointSpec: endpointSpecOf(s.Endpoint),
	}
	out.TaskTemplate.Runtime = swarm.RuntimeContainer
	if len(out.TaskTemplate.Networks) == 0 {
		out.TaskTemplate.Networks = each(s.Networks, networkConfigOf) // of a service that an old client made
	}
	switch m := s.GetMode().(type) {
	case *api.ServiceSpec_Global:
		out.Mode.Global = &swarm.GlobalService{}
	case *api.ServiceSpec_Replicated:
		out.Mode.Replicated = &swarm.ReplicatedService{Replicas: &m.Replicated.Replicas}
	case *api.ServiceSpec_ReplicatedJob:
		out.Mode.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: &m.ReplicatedJob.MaxConcurrent, TotalCompletions: &m.ReplicatedJob.TotalCompletions}
	case *api.ServiceSpec_GlobalJob:
		out.Mode.GlobalJob = &swarm.GlobalJob{}
	}
	return out, nil
}

// ServiceSpec translates the specification of a service. Networks are to be named by
// their IDs, and the service has to have a name: where a client leaves it out, one is
// drawn before. Errors: in Docker's words, for what a client has written.
func ServiceSpec(s swarm.ServiceSpec) (api.ServiceSpec, error) {
	task, err := taskSpec(s.TaskTemplate)
	if err != nil {
		return api.ServiceSpec{}, err
	}
	out := api.ServiceSpec{Annotations: api.Annotations{Name: s.Name, Labels: s.Labels}, Task: task}
	if _, _, err := model.IngressOptions(s.Labels); err != nil {
		return api.ServiceSpec{}, err
	}
	if out.Update, err = updateConfig(s.UpdateConfig); err != nil {
		return api.ServiceSpec{}, err
	}
	if out.Rollback, err = updateConfig(s.RollbackConfig); err != nil {
		return api.ServiceSpec{}, err
	}
	if out.Endpoint, err = endpointSpec(s.EndpointSpec); err != nil {
		return api.ServiceSpec{}, err
	}
	return out, setMode(s.Mode, &out)
}

// setMode translates which tasks a service has; one, if nothing is said.
func setMode(m swarm.ServiceMode, out *api.ServiceSpec) error {
	modes := 0
	for _, given := range [...]bool{m.Global != nil, m.Replicated != nil, m.ReplicatedJob != nil, m.GlobalJob != nil} {
		if given {
			modes++
		}
	}
	switch {
	case modes > 1:
		return errors.New("must specify only one service mode")
	case m.Global != nil:
		out.Mode = &api.ServiceSpec_Global{Global: &api.GlobalService{}}
	case m.GlobalJob != nil:
		out.Mode = &api.ServiceSpec_GlobalJob{GlobalJob: &api.GlobalJob{}}
	case m.ReplicatedJob != nil:
		job := &api.ReplicatedJob{MaxConcurrent: valueOr(m.ReplicatedJob.MaxConcurrent, 1)}
		job.TotalCompletions = valueOr(m.ReplicatedJob.TotalCompletions, job.MaxConcurrent)
		out.Mode = &api.ServiceSpec_ReplicatedJob{ReplicatedJob: job}
	default:
		replicas := uint64(1)
		if m.Replicated != nil {
			replicas = valueOr(m.Replicated.Replicas, 1)
		}
		out.Mode = &api.ServiceSpec_Replicated{Replicated: &api.ReplicatedService{Replicas: replicas}}
	}
	return nil
}

var failureActions = pairs[swarm.FailureAction, api.UpdateConfig_FailureAction]{
	{swarm.UpdateFailureActionPause, api.UpdateConfig_PAUSE}, {swarm.UpdateFailureActionContinue, api.UpdateConfig_CONTINUE},
	{swarm.UpdateFailureActionRollback, api.UpdateConfig_ROLLBACK},
}

var updateOrders = pairs[swarm.UpdateOrder, api.UpdateConfig_UpdateOrder]{
	{swarm.UpdateOrderStopFirst, api.UpdateConfig_STOP_FIRST}, {swarm.UpdateOrderStartFirst, api.UpdateConfig_START_FIRST},
}

func updateConfigOf(c *api.UpdateConfig) *swarm.UpdateConfig {
	if c == nil {
		return nil
	}
	return &swarm.UpdateConfig{
		Parallelism: c.Parallelism, Delay: c.Delay, Monitor: durationOf(c.Monitor), MaxFailureRatio: c.MaxFailureRatio,
		FailureAction: failureActions.docker(c.FailureAction), Order: updateOrders.docker(c.Order),
	}
}

func updateConfig(c *swarm.UpdateConfig) (*api.UpdateConfig, error) {
	if c == nil {
		return nil, nil
	}
	out := &api.UpdateConfig{Parallelism: c.Parallelism, Delay: c.Delay, MaxFailureRatio: c.MaxFailureRatio}
	if c.Monitor != 0 {
		out.Monitor = gogotypes.DurationProto(c.Monitor)
	}
	var ok bool
	if out.FailureAction, ok = failureActions.swarmkit(c.FailureAction); !ok {
		return nil, fmt.Errorf("unrecognized update failure action %s", c.FailureAction)
	}
	if out.Order, ok = updateOrders.swarmkit(c.Order); !ok {
		return nil, fmt.Errorf("unrecognized update order %s", c.Order)
	}
	return out, nil
}

// pairs are the values of an enumeration, in Docker's words and swarmkit's. The first
// is what is meant where nothing is said.
type pairs[D ~string, S comparable] []struct {
	docker   D
	swarmkit S
}

// docker translates a value; the first stands for one that is unknown.
func (p pairs[D, S]) docker(value S) D {
	for _, pair := range p {
		if pair.swarmkit == value {
			return pair.docker
		}
	}
	return p[0].docker
}

// swarmkit translates a value; false if it is unknown.
func (p pairs[D, S]) swarmkit(value D) (S, bool) {
	for _, pair := range p {
		if pair.docker == value {
			return pair.swarmkit, true
		}
	}
	return p[0].swarmkit, value == ""
}

// each returns what f makes of each element; nil of none.
func each[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, one := range in {
		out[i] = f(one)
	}
	return out
}

// valueOr returns what p points to.
func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// optionalDuration translates a time span that may be missing.
func optionalDuration(d *gogotypes.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	out := durationOf(d)
	return &out
}

func optionalDurationProto(d *time.Duration) *gogotypes.Duration {
	if d == nil {
		return nil
	}
	return gogotypes.DurationProto(*d)
}
