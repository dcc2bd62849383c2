package migrate

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Target is an engine in which things are made.
type Target interface {
	Source
	ImageInspect(ctx context.Context, name string, o ...client.ImageInspectOption) (client.ImageInspectResult, error)
	NetworkCreate(ctx context.Context, name string, o client.NetworkCreateOptions) (client.NetworkCreateResult, error)
	ContainerCreate(ctx context.Context, o client.ContainerCreateOptions) (client.ContainerCreateResult, error)
}

// Look asks an engine what of the definitions it has.
func Look(ctx context.Context, at Target, d Definitions) (Here, error) {
	has, err := Read(ctx, at)
	if err != nil {
		return Here{}, err
	}
	here := Here{Networks: map[string]bool{}, Volumes: map[string]bool{}, Containers: map[string]bool{}, Images: map[string]bool{}}
	for _, n := range has.Networks {
		here.Networks[n.Name] = true
	}
	for _, v := range has.Volumes {
		here.Volumes[v.Name] = true
	}
	for _, c := range has.Containers {
		here.Containers[strings.TrimPrefix(c.Name, "/")] = true
	}
	for _, c := range d.Containers {
		name := c.Config.Image
		if _, looked := here.Images[name]; looked {
			continue
		}
		_, err := at.ImageInspect(ctx, name)
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsInvalidArgument(err) {
			return Here{}, err
		}
		here.Images[name] = err == nil
	}
	return here, nil
}

// Hands make what is asked for.
type Hands struct {
	Target Target
	// Volume copies a volume with its data.
	Volume func(ctx context.Context, name string) error
}

// Apply does the steps and tells of each. One that fails leaves nothing, and the others are done. It returns how many failed.
func (h Hands) Apply(ctx context.Context, steps []Step, told func(Step, error)) (failed int) {
	for _, s := range steps {
		if s.Why != "" || ctx.Err() != nil {
			continue
		}
		err := h.do(ctx, s)
		if err != nil {
			failed++
		}
		told(s, err)
	}
	return failed
}

func (h Hands) do(ctx context.Context, s Step) (err error) {
	switch s.Kind {
	case KindNetwork:
		_, err = h.Target.NetworkCreate(ctx, s.Name, s.Network)
	case KindVolume:
		err = h.Volume(ctx, s.Name)
	case KindContainer:
		_, err = h.Target.ContainerCreate(ctx, s.Container)
	}
	return err
}

// Report writes the steps, a line each: what is to be done, and what is not and why.
func Report(to io.Writer, steps []Step) error {
	columns := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, "KIND\tNAME\tWHAT\tWHY")
	for _, s := range steps {
		what, why := "to be made", s.Note
		if s.Why != "" {
			what, why = "left out", s.Why
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\n", s.Kind, s.Name, what, why)
	}
	return columns.Flush()
}
