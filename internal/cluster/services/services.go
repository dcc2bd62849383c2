// Package services has the verbs of services, tasks, secrets and configs of a swarm,
// reads the logs of services, and tells what happens to objects of the swarm.
//
//	door ─▶ Services ─▶ Manage ─▶ this node's own manager ─▶ the leader
//
// It promises Docker's texts and kinds of errors, and that names are looked up as Docker
// does it: a whole ID, then a name, then the beginning of an ID. It must not know what a
// node does with its tasks.
package services

import (
	"context"
	"errors"
	"fmt"
	"slices"

	wire "github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/cluster/convert"
	"github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/model"
)

// Options are what Services are made of. All are needed.
type Options struct {
	// Manage calls ask with the way to this node's own manager, and a context that ends
	// in time. Errors: Unavailable, where there is none.
	Manage func(ctx context.Context, ask func(context.Context, swarm.Manager) error) error
	// LocalNetwork finds a network of this host by ID or name.
	LocalNetwork func(ref string) (model.Network, bool)
	// DrawName returns a name for a service that has none.
	DrawName func() string
}

// Services are the services of the swarm that this node is a manager of. Its methods
// may be called from any goroutine.
type Services struct{ o Options }

// New returns the services of a swarm.
func New(o Options) *Services { return &Services{o} }

// ServiceFilter says which services are listed: those that meet one of each that is
// given, and all labels.
type ServiceFilter struct {
	Names, IDs, Runtimes []string // names and IDs by their beginnings
	Labels               map[string]string
	Modes                []string
	Status               bool // their tasks are counted
}

// Services returns the services that a filter lets through.
func (s *Services) Services(ctx context.Context, f ServiceFilter) ([]wire.Service, error) {
	out := []wire.Service{}
	err := s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		r, err := m.ListServices(ctx, &api.ListServicesRequest{Filters: &api.ListServicesRequest_Filters{
			NamePrefixes: f.Names, IDPrefixes: f.IDs, Labels: f.Labels, Runtimes: f.Runtimes,
		}}, swarm.Whole)
		if err != nil {
			return err
		}
		for _, one := range r.Services {
			if !hasMode(one, f.Modes) {
				continue
			}
			translated, err := convert.Service(one)
			if err != nil {
				return err
			}
			out = append(out, translated)
		}
		if f.Status {
			return count(ctx, m, out)
		}
		return nil
	})
	return out, err
}

// hasMode tells whether a service has one of the modes; without any, it has.
func hasMode(s *api.Service, modes []string) bool {
	mode := ""
	switch s.Spec.GetMode().(type) {
	case *api.ServiceSpec_Global:
		mode = "global"
	case *api.ServiceSpec_Replicated:
		mode = "replicated"
	case *api.ServiceSpec_ReplicatedJob:
		mode = "replicated-job"
	case *api.ServiceSpec_GlobalJob:
		mode = "global-job"
	}
	return len(modes) == 0 || slices.Contains(modes, mode)
}

// count notes in services how many of their tasks run.
func count(ctx context.Context, m swarm.Manager, list []wire.Service) error {
	ids, byID := make([]string, len(list)), map[string]*wire.Service{}
	for i := range list {
		ids[i], byID[list[i].ID] = list[i].ID, &list[i]
	}
	r, err := m.ListServiceStatuses(ctx, &api.ListServiceStatusesRequest{Services: ids}, swarm.Whole)
	if err != nil {
		return err
	}
	for _, c := range r.Statuses {
		if one := byID[c.ServiceID]; one != nil {
			one.ServiceStatus = &wire.ServiceStatus{RunningTasks: c.RunningTasks, DesiredTasks: c.DesiredTasks, CompletedTasks: c.CompletedTasks}
		}
	}
	return nil
}

// Service returns the service of an ID, a name, or the beginning of an ID; with
// defaults, what its specification leaves out has the values that hold.
func (s *Services) Service(ctx context.Context, ref string, defaults bool) (out wire.Service, err error) {
	err = s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		found, err := service(ctx, m, ref, defaults)
		if err != nil {
			return err
		}
		out, err = convert.Service(found)
		return err
	})
	return out, err
}

// service finds a service as a user names it.
func service(ctx context.Context, m swarm.Manager, ref string, defaults bool) (*api.Service, error) {
	get := func(id string) (*api.Service, error) {
		r, err := m.GetService(ctx, &api.GetServiceRequest{ServiceID: id, InsertDefaults: defaults})
		if err != nil {
			return nil, err
		}
		return r.Service, nil
	}
	found, err := swarm.Find(swarm.Lookup[*api.Service]{Kind: "service", Get: get, List: func(names, prefixes []string) ([]*api.Service, error) {
		r, err := m.ListServices(ctx, &api.ListServicesRequest{Filters: &api.ListServicesRequest_Filters{Names: names, IDPrefixes: prefixes}}, swarm.Whole)
		if err != nil {
			return nil, err
		}
		return r.Services, nil
	}}, ref)
	if err != nil || !defaults {
		return found, err
	}
	return get(found.ID) // what lists does not fill in defaults
}

// CreateService makes a service and returns its ID. auth is the way into the image's
// registry as X-Registry-Auth has it; it may be empty.
func (s *Services) CreateService(ctx context.Context, spec wire.ServiceSpec, auth string) (id string, err error) {
	err = s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		translated, err := s.spec(ctx, m, spec)
		if err != nil {
			return err
		}
		if auth != "" {
			translated.Task.GetContainer().PullOptions = &api.ContainerSpec_PullOptions{RegistryAuth: auth}
		}
		r, err := m.ControlClient.CreateService(ctx, &api.CreateServiceRequest{Spec: &translated})
		if err == nil {
			id = r.Service.ID
		}
		return err
	})
	return id, err
}

// spec translates the specification of a service, with its networks looked up. Errors:
// Invalid for what cannot be meant; as Docker has them, for networks.
func (s *Services) spec(ctx context.Context, m swarm.Manager, spec wire.ServiceSpec) (api.ServiceSpec, error) {
	for i, n := range spec.TaskTemplate.Networks {
		found, err := s.network(ctx, m, n.Target)
		if err != nil {
			return api.ServiceSpec{}, err
		}
		spec.TaskTemplate.Networks[i].Target = found.ID
	}
	if spec.TaskTemplate.Runtime == wire.RuntimePlugin {
		return api.ServiceSpec{}, model.Errorf(model.Unfit, "runtime type %q only supported in experimental", wire.RuntimePlugin)
	}
	if spec.Name == "" {
		spec.Name = s.o.DrawName()
	}
	out, err := convert.ServiceSpec(spec)
	if err != nil {
		return out, model.Errorf(model.Invalid, "%w", err)
	}
	return out, nil
}

// network finds a network of the swarm's scope, or the object in the swarm that stands
// for one that every host has.
func (s *Services) network(ctx context.Context, m swarm.Manager, ref string) (*api.Network, error) {
	find := swarm.Lookup[*api.Network]{
		Kind: "network",
		Get: func(id string) (*api.Network, error) {
			r, err := m.GetNetwork(ctx, &api.GetNetworkRequest{NetworkID: id})
			if err != nil {
				return nil, err
			}
			return r.Network, nil
		},
		List: func(names, prefixes []string) ([]*api.Network, error) {
			r, err := m.ListNetworks(ctx, &api.ListNetworksRequest{Filters: &api.ListNetworksRequest_Filters{Names: names, IDPrefixes: prefixes}}, swarm.Whole)
			if err != nil {
				return nil, err
			}
			return r.Networks, nil
		},
	}
	found, err := swarm.Find(find, ref)
	if err == nil {
		return found, nil
	}
	local, ok := s.o.LocalNetwork(ref)
	switch {
	case ok && local.Name != ref && model.Predefined(local.Name):
		found, err := swarm.Find(find, local.Name)
		if err != nil {
			return nil, model.Errorf(model.NotFound, "could not find the corresponding predefined swarm network: %w", err)
		}
		return found, nil
	case ok && local.Scope != model.ScopeSwarm:
		return nil, model.Errorf(model.Forbidden, "The network %s cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver.", local.Name)
	case model.KindOf(err) == model.NotFound: // Docker says it as an error of its own
		return nil, model.Errorf(model.Unfit, "network %s not found", ref)
	}
	return nil, err
}

// ServiceUpdate says how a service is to change.
type ServiceUpdate struct {
	Version uint64 // that of the service which Spec was made from
	Spec    wire.ServiceSpec
	// Auth is the way into the image's registry as X-Registry-Auth has it; empty leaves
	// that of the specification that AuthFrom names.
	Auth     string
	AuthFrom wire.RegistryAuthSource
	Rollback string // "previous", or "none"
}

// UpdateService changes a service.
func (s *Services) UpdateService(ctx context.Context, ref string, u ServiceUpdate) error {
	return s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		spec, err := s.spec(ctx, m, u.Spec)
		if err != nil {
			return err
		}
		now, err := service(ctx, m, ref, false)
		if err != nil {
			return err
		}
		if u.Auth != "" {
			spec.Task.GetContainer().PullOptions = &api.ContainerSpec_PullOptions{RegistryAuth: u.Auth}
		} else if spec.Task.GetContainer().PullOptions, err = knownAuth(now, u.AuthFrom); err != nil {
			return err
		}
		rollback := api.UpdateServiceRequest_NONE
		switch u.Rollback {
		case "", "none":
		case "previous":
			rollback = api.UpdateServiceRequest_PREVIOUS
		default:
			return fmt.Errorf("unrecognized rollback option %s", u.Rollback)
		}
		_, err = m.ControlClient.UpdateService(ctx, &api.UpdateServiceRequest{
			ServiceID: now.ID, Spec: &spec, ServiceVersion: &api.Version{Index: u.Version}, Rollback: rollback,
		})
		return err
	})
}

// knownAuth returns the way into the registry that a service has already.
func knownAuth(s *api.Service, from wire.RegistryAuthSource) (*api.ContainerSpec_PullOptions, error) {
	spec := &s.Spec
	if from == wire.RegistryAuthFromPreviousSpec {
		if spec = s.PreviousSpec; spec == nil {
			return nil, errors.New("service does not have a previous spec")
		}
	}
	c := spec.Task.GetContainer()
	if c == nil {
		return nil, errors.New("service does not use container tasks")
	}
	return c.PullOptions, nil
}

// RemoveService removes a service. Its tasks follow.
func (s *Services) RemoveService(ctx context.Context, ref string) error {
	return s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		found, err := service(ctx, m, ref, false)
		if err != nil {
			return err
		}
		_, err = m.ControlClient.RemoveService(ctx, &api.RemoveServiceRequest{ServiceID: found.ID})
		return err
	})
}
