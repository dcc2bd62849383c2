package convert

import (
	"errors"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
)

// Secret translates a secret. What it says is never in what managers answer.
func Secret(s *api.Secret) swarm.Secret {
	return swarm.Secret{ID: s.ID, Meta: metaOf(s.Meta), Spec: swarm.SecretSpec{
		Annotations: annotationsOf(s.Spec.Annotations), Data: s.Spec.Data, Driver: driverOf(s.Spec.Driver), Templating: driverOf(s.Spec.Templating),
	}}
}

// SecretSpec translates the specification of a secret.
func SecretSpec(s swarm.SecretSpec) api.SecretSpec {
	return api.SecretSpec{
		Annotations: api.Annotations{Name: s.Name, Labels: s.Labels}, Data: s.Data, Driver: driver(s.Driver), Templating: driver(s.Templating),
	}
}

// Config translates a config.
func Config(c *api.Config) swarm.Config {
	return swarm.Config{ID: c.ID, Meta: metaOf(c.Meta), Spec: swarm.ConfigSpec{
		Annotations: annotationsOf(c.Spec.Annotations), Data: c.Spec.Data, Templating: driverOf(c.Spec.Templating),
	}}
}

// ConfigSpec translates the specification of a config.
func ConfigSpec(c swarm.ConfigSpec) api.ConfigSpec {
	return api.ConfigSpec{Annotations: api.Annotations{Name: c.Name, Labels: c.Labels}, Data: c.Data, Templating: driver(c.Templating)}
}

// secretReferencesOf leaves out what is to become no file: Docker has no word for it.
func secretReferencesOf(list []*api.SecretReference) (out []*swarm.SecretReference) {
	for _, r := range list {
		if f := r.GetFile(); f != nil {
			out = append(out, &swarm.SecretReference{
				SecretID: r.SecretID, SecretName: r.SecretName, File: &swarm.SecretReferenceFileTarget{Name: f.Name, UID: f.UID, GID: f.GID, Mode: f.Mode},
			})
		}
	}
	return out
}

func secretReferences(list []*swarm.SecretReference) (out []*api.SecretReference) {
	for _, r := range list {
		if r == nil {
			continue
		}
		translated := &api.SecretReference{SecretID: r.SecretID, SecretName: r.SecretName}
		if f := r.File; f != nil {
			translated.Target = &api.SecretReference_File{File: &api.FileTarget{Name: f.Name, UID: f.UID, GID: f.GID, Mode: f.Mode}}
		}
		out = append(out, translated)
	}
	return out
}

func configReferencesOf(list []*api.ConfigReference) (out []*swarm.ConfigReference) {
	for _, r := range list {
		translated := &swarm.ConfigReference{ConfigID: r.ConfigID, ConfigName: r.ConfigName}
		switch f := r.GetFile(); {
		case r.GetRuntime() != nil:
			translated.Runtime = &swarm.ConfigReferenceRuntimeTarget{}
		case f != nil:
			translated.File = &swarm.ConfigReferenceFileTarget{Name: f.Name, UID: f.UID, GID: f.GID, Mode: f.Mode}
		default:
			continue
		}
		out = append(out, translated)
	}
	return out
}

func configReferences(list []*swarm.ConfigReference) (out []*api.ConfigReference, err error) {
	for _, r := range list {
		switch {
		case r == nil:
			continue
		case r.Runtime == nil && r.File == nil:
			return nil, errors.New("either File or Runtime should be set")
		case r.Runtime != nil && r.File != nil:
			return nil, errors.New("cannot specify both File and Runtime")
		}
		translated := &api.ConfigReference{ConfigID: r.ConfigID, ConfigName: r.ConfigName, Target: &api.ConfigReference_Runtime{Runtime: &api.RuntimeTarget{}}}
		if f := r.File; f != nil {
			translated.Target = &api.ConfigReference_File{File: &api.FileTarget{Name: f.Name, UID: f.UID, GID: f.GID, Mode: f.Mode}}
		}
		out = append(out, translated)
	}
	return out, nil
}
