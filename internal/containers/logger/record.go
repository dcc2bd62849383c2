package logger

import (
	"cmp"
	"slices"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/model"
)

// Of returns what is noted with every line of a container's log, which is at path.
// Errors have Docker's words, with which it refuses to start such a container.
func Of(r containerrecord.Record, path string) (map[string]string, model.LogSource, error) {
	var source model.LogSource
	driver := r.Host.LogConfig.Type
	if driver == logoptions.None {
		return nil, source, nil
	}
	command := slices.Concat(r.Config.Entrypoint, r.Config.Cmd)
	info := &Info{
		Config: r.Host.LogConfig.Config, LogPath: path, DaemonName: "docker",
		ContainerID: string(r.ID), ContainerName: "/" + r.Name, ContainerCreated: r.Created,
		ContainerEntrypoint: command[0], ContainerArgs: command[1:],
		ContainerImageID: string(r.Image), ContainerImageName: r.Config.Image,
		ContainerEnv: r.Config.Env, ContainerLabels: r.Config.Labels,
	}
	attributes, err := Attributes(info)
	if err != nil {
		return nil, source, model.Errorf(model.Invalid, "failed to create task for container: failed to initialize logging driver: %w", err)
	}
	if logoptions.Cached(driver) {
		source = model.LogSource{Name: info.Name(), Image: info.ImageName(), Tag: cmp.Or(attributes["tag"], info.ID())}
	}
	return attributes, source, nil
}
