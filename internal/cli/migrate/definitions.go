// Package migrate brings what somebody made on a Docker host over to another engine: networks, volumes and the definitions of
// containers, as the Docker Engine API shows them.
//
// What is to be done is computed (Plan) before anything is done (Apply), from what there is on either side. What is on the other
// side already stays as it is there, so that the same migration can be done again. Nothing is changed where it comes from.
package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

// Format is the version of the written form of Definitions.
const Format = 1

// maxDefinitions bounds a file of them, in bytes.
const maxDefinitions = 256 << 20

// Definitions are what an engine has.
type Definitions struct {
	Format     int                         `json:"format"`
	Root       string                      `json:"root"` // data root, below which volumes lie
	Networks   []network.Summary           `json:"networks"`
	Volumes    []volume.Volume             `json:"volumes"`
	Containers []container.InspectResponse `json:"containers"`
}

// Source is an engine that is asked.
type Source interface {
	Info(ctx context.Context, o client.InfoOptions) (client.SystemInfoResult, error)
	NetworkList(ctx context.Context, o client.NetworkListOptions) (client.NetworkListResult, error)
	VolumeList(ctx context.Context, o client.VolumeListOptions) (client.VolumeListResult, error)
	ContainerList(ctx context.Context, o client.ContainerListOptions) (client.ContainerListResult, error)
	ContainerInspect(ctx context.Context, id string, o client.ContainerInspectOptions) (client.ContainerInspectResult, error)
}

// Read asks an engine for all that it has.
func Read(ctx context.Context, from Source) (Definitions, error) {
	info, err := from.Info(ctx, client.InfoOptions{})
	if err != nil {
		return Definitions{}, err
	}
	networks, err := from.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return Definitions{}, err
	}
	volumes, err := from.VolumeList(ctx, client.VolumeListOptions{})
	if err != nil {
		return Definitions{}, err
	}
	containers, err := from.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return Definitions{}, err
	}
	out := Definitions{Format: Format, Root: info.Info.DockerRootDir, Networks: networks.Items, Volumes: volumes.Items}
	for _, c := range containers.Items {
		one, err := from.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		if err != nil {
			return Definitions{}, err
		}
		out.Containers = append(out.Containers, one.Container)
	}
	return out, nil
}

// Write puts definitions down. They have what containers were given in their environment, secrets too.
func (d Definitions) Write(to io.Writer) error {
	lines := json.NewEncoder(to)
	lines.SetIndent("", "  ")
	return lines.Encode(d)
}

// Parse reads what Write put down. Errors: another format, or none.
func Parse(from io.Reader) (Definitions, error) {
	var d Definitions
	limited := &io.LimitedReader{R: from, N: maxDefinitions + 1}
	err := json.NewDecoder(limited).Decode(&d)
	switch {
	case limited.N <= 0:
		return Definitions{}, fmt.Errorf("more than %d bytes of definitions", maxDefinitions)
	case err != nil:
		return Definitions{}, fmt.Errorf("no definitions: %w", err)
	case d.Format != Format:
		return Definitions{}, fmt.Errorf("definitions of format %d: this version reads %d", d.Format, Format)
	}
	for _, c := range d.Containers {
		if len(c.ID) < shortID || c.Config == nil || c.HostConfig == nil {
			return Definitions{}, fmt.Errorf("container %q has no definition", c.Name)
		}
	}
	return d, nil
}
