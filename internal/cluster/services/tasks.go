package services

import (
	"context"
	"fmt"
	"strings"

	wire "github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/cluster/convert"
	"github.com/linkspan/linkspan/internal/cluster/swarm"
)

// TaskFilter says which tasks are listed: those that meet one of each that is given, and
// all labels.
type TaskFilter struct {
	Names, IDs      []string // beginnings
	Labels          map[string]string
	Services, Nodes []string // as users name them
	Desired         []string // states
	Runtimes        []string // none: containers
	// UpToDate leaves out those that an update has yet to replace.
	UpToDate bool
}

// Tasks returns the tasks that a filter lets through.
func (s *Services) Tasks(ctx context.Context, f TaskFilter) ([]wire.Task, error) {
	out := []wire.Task{}
	err := s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		filters, err := taskFilters(ctx, m, f)
		if err != nil {
			return err
		}
		r, err := m.ListTasks(ctx, &api.ListTasksRequest{Filters: filters}, swarm.Whole)
		if err != nil {
			return err
		}
		for _, one := range r.Tasks {
			out = append(out, convert.Task(one))
		}
		return nil
	})
	return out, err
}

// taskFilters translates a filter; services and nodes are looked up.
func taskFilters(ctx context.Context, m swarm.Manager, f TaskFilter) (*api.ListTasksRequest_Filters, error) {
	out := &api.ListTasksRequest_Filters{NamePrefixes: f.Names, IDPrefixes: f.IDs, Labels: f.Labels, UpToDate: f.UpToDate, Runtimes: f.Runtimes}
	for _, ref := range f.Services {
		found, err := service(ctx, m, ref, false)
		if err != nil {
			return nil, err
		}
		out.ServiceIDs = append(out.ServiceIDs, found.ID)
	}
	for _, ref := range f.Nodes {
		found, err := m.FindNode(ctx, ref)
		if err != nil {
			return nil, err
		}
		out.NodeIDs = append(out.NodeIDs, found.ID)
	}
	if len(out.Runtimes) == 0 {
		out.Runtimes = []string{"container", ""}
	}
	for _, text := range f.Desired {
		state, ok := api.TaskState_value[strings.ToUpper(text)]
		if !ok && text != "" {
			return nil, fmt.Errorf("Invalid desired-state filter: '%s'", text) //nolint:staticcheck // Docker's words
		}
		if ok {
			out.DesiredStates = append(out.DesiredStates, api.TaskState(state))
		}
	}
	return out, nil
}

// Task returns the task of an ID, a name, or the beginning of an ID.
func (s *Services) Task(ctx context.Context, ref string) (out wire.Task, err error) {
	err = s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		found, err := task(ctx, m, ref)
		if err == nil {
			out = convert.Task(found)
		}
		return err
	})
	return out, err
}

// task finds a task as a user names it.
func task(ctx context.Context, m swarm.Manager, ref string) (*api.Task, error) {
	return swarm.Find(swarm.Lookup[*api.Task]{
		Kind: "task",
		Get: func(id string) (*api.Task, error) {
			r, err := m.GetTask(ctx, &api.GetTaskRequest{TaskID: id})
			if err != nil {
				return nil, err
			}
			return r.Task, nil
		},
		List: func(names, prefixes []string) ([]*api.Task, error) {
			r, err := m.ListTasks(ctx, &api.ListTasksRequest{Filters: &api.ListTasksRequest_Filters{Names: names, IDPrefixes: prefixes}}, swarm.Whole)
			if err != nil {
				return nil, err
			}
			return r.Tasks, nil
		},
	}, ref)
}
