package services

import (
	"context"

	wire "github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/cluster/convert"
	"github.com/linkspan/linkspan/internal/cluster/swarm"
)

// Configs are the configs of a swarm.
type Configs struct{ o Options }

// NewConfigs returns the configs of a swarm.
func NewConfigs(o Options) *Configs { return &Configs{o} }

// List returns the configs that a filter lets through.
func (s *Configs) List(ctx context.Context, f FileFilter) ([]wire.Config, error) {
	out := []wire.Config{}
	err := s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		r, err := m.ListConfigs(ctx, &api.ListConfigsRequest{Filters: &api.ListConfigsRequest_Filters{
			Names: f.Whole, NamePrefixes: f.Names, IDPrefixes: f.IDs, Labels: f.Labels,
		}}, swarm.Whole)
		if err != nil {
			return err
		}
		for _, one := range r.Configs {
			out = append(out, convert.Config(one))
		}
		return nil
	})
	return out, err
}

// Find returns the config of an ID, a name, or the beginning of an ID.
func (s *Configs) Find(ctx context.Context, ref string) (out wire.Config, err error) {
	err = s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		found, err := config(ctx, m, ref)
		if err == nil {
			out = convert.Config(found)
		}
		return err
	})
	return out, err
}

// Create makes a config and returns its ID.
func (s *Configs) Create(ctx context.Context, spec wire.ConfigSpec) (id string, err error) {
	err = s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		translated := convert.ConfigSpec(spec)
		r, err := m.CreateConfig(ctx, &api.CreateConfigRequest{Spec: &translated})
		if err == nil {
			id = r.Config.ID
		}
		return err
	})
	return id, err
}

// Update gives a config other labels. version is that of the config which spec was made
// from.
func (s *Configs) Update(ctx context.Context, ref string, version uint64, spec wire.ConfigSpec) error {
	return s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		found, err := config(ctx, m, ref)
		if err != nil {
			return err
		}
		translated := convert.ConfigSpec(spec)
		_, err = m.UpdateConfig(ctx, &api.UpdateConfigRequest{ConfigID: found.ID, ConfigVersion: &api.Version{Index: version}, Spec: &translated})
		return err
	})
}

// Remove removes a config that no service uses.
func (s *Configs) Remove(ctx context.Context, ref string) error {
	return s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		found, err := config(ctx, m, ref)
		if err != nil {
			return err
		}
		_, err = m.RemoveConfig(ctx, &api.RemoveConfigRequest{ConfigID: found.ID})
		return err
	})
}

// config finds a config as a user names it.
func config(ctx context.Context, m swarm.Manager, ref string) (*api.Config, error) {
	return swarm.Find(swarm.Lookup[*api.Config]{
		Kind: "config",
		Get: func(id string) (*api.Config, error) {
			r, err := m.GetConfig(ctx, &api.GetConfigRequest{ConfigID: id})
			if err != nil {
				return nil, err
			}
			return r.Config, nil
		},
		List: func(names, prefixes []string) ([]*api.Config, error) {
			r, err := m.ListConfigs(ctx, &api.ListConfigsRequest{Filters: &api.ListConfigsRequest_Filters{Names: names, IDPrefixes: prefixes}}, swarm.Whole)
			if err != nil {
				return nil, err
			}
			return r.Configs, nil
		},
	}, ref)
}
