package containers

import (
	"slices"

	"github.com/linkspan/linkspan/internal/containers/logger"
	"github.com/linkspan/linkspan/internal/model"
)

// logAttributes returns what is noted with every line of a container's log.
// Errors have Docker's words, with which it refuses to start such a container.
func (out *outputs) logAttributes(r record) (map[string]string, error) {
	if r.Host.LogConfig.Type == "none" {
		return nil, nil
	}
	command := slices.Concat(r.Config.Entrypoint, r.Config.Cmd)
	attributes, err := logger.Attributes(&logger.Info{
		Config: r.Host.LogConfig.Config, LogPath: out.dirs.Log(r.ID), DaemonName: "docker",
		ContainerID: string(r.ID), ContainerName: "/" + r.Name, ContainerCreated: r.Created,
		ContainerEntrypoint: command[0], ContainerArgs: command[1:],
		ContainerImageID: string(r.Image), ContainerImageName: r.Config.Image,
		ContainerEnv: r.Config.Env, ContainerLabels: r.Config.Labels,
	})
	if err != nil {
		return nil, model.Errorf(model.Invalid, "failed to create task for container: failed to initialize logging driver: %w", err)
	}
	return attributes, nil
}
