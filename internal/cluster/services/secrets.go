package services

import (
	"context"

	wire "github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/cluster/convert"
	"github.com/linkspan/linkspan/internal/cluster/swarm"
)

// FileFilter says which secrets or configs are listed: those that meet one of each that
// is given, and all labels.
type FileFilter struct {
	Whole      []string // names
	Names, IDs []string // beginnings
	Labels     map[string]string
}

// Secrets are the secrets of a swarm. What they say is never shown.
type Secrets struct{ o Options }

// NewSecrets returns the secrets of a swarm.
func NewSecrets(o Options) *Secrets { return &Secrets{o} }

// List returns the secrets that a filter lets through.
func (s *Secrets) List(ctx context.Context, f FileFilter) ([]wire.Secret, error) {
	out := []wire.Secret{}
	err := s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		r, err := m.ListSecrets(ctx, &api.ListSecretsRequest{Filters: &api.ListSecretsRequest_Filters{
			Names: f.Whole, NamePrefixes: f.Names, IDPrefixes: f.IDs, Labels: f.Labels,
		}}, swarm.Whole)
		if err != nil {
			return err
		}
		for _, one := range r.Secrets {
			out = append(out, convert.Secret(one))
		}
		return nil
	})
	return out, err
}

// Find returns the secret of an ID, a name, or the beginning of an ID.
func (s *Secrets) Find(ctx context.Context, ref string) (out wire.Secret, err error) {
	err = s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		found, err := secret(ctx, m, ref)
		if err == nil {
			out = convert.Secret(found)
		}
		return err
	})
	return out, err
}

// Create makes a secret and returns its ID.
//
//docker:no secret create --driver: no plugin is asked for secrets
func (s *Secrets) Create(ctx context.Context, spec wire.SecretSpec) (id string, err error) {
	err = s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		translated := convert.SecretSpec(spec)
		r, err := m.CreateSecret(ctx, &api.CreateSecretRequest{Spec: &translated})
		if err == nil {
			id = r.Secret.ID
		}
		return err
	})
	return id, err
}

// Update gives a secret other labels. version is that of the secret which spec was made
// from.
func (s *Secrets) Update(ctx context.Context, ref string, version uint64, spec wire.SecretSpec) error {
	return s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		found, err := secret(ctx, m, ref)
		if err != nil {
			return err
		}
		translated := convert.SecretSpec(spec)
		_, err = m.UpdateSecret(ctx, &api.UpdateSecretRequest{SecretID: found.ID, SecretVersion: &api.Version{Index: version}, Spec: &translated})
		return err
	})
}

// Remove removes a secret that no service uses.
func (s *Secrets) Remove(ctx context.Context, ref string) error {
	return s.o.Manage(ctx, func(ctx context.Context, m swarm.Manager) error {
		found, err := secret(ctx, m, ref)
		if err != nil {
			return err
		}
		_, err = m.RemoveSecret(ctx, &api.RemoveSecretRequest{SecretID: found.ID})
		return err
	})
}

// secret finds a secret as a user names it.
func secret(ctx context.Context, m swarm.Manager, ref string) (*api.Secret, error) {
	return swarm.Find(swarm.Lookup[*api.Secret]{
		Kind: "secret",
		Get: func(id string) (*api.Secret, error) {
			r, err := m.GetSecret(ctx, &api.GetSecretRequest{SecretID: id})
			if err != nil {
				return nil, err
			}
			return r.Secret, nil
		},
		List: func(names, prefixes []string) ([]*api.Secret, error) {
			r, err := m.ListSecrets(ctx, &api.ListSecretsRequest{Filters: &api.ListSecretsRequest_Filters{Names: names, IDPrefixes: prefixes}}, swarm.Whole)
			if err != nil {
				return nil, err
			}
			return r.Secrets, nil
		},
	}, ref)
}
