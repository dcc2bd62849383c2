package runtime

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// versionTime bounds how long a program may take to say its version.
const versionTime = 5 * time.Second

// Components returns the programs that run containers, with their versions: "containerd",
// "runc" and, where there is one, "docker-init". One that does not say its version is left
// out. Programs are started for it: it is meant for the start of the daemon.
func (r *Runtime) Components(ctx context.Context) []model.Component {
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	out := make([]model.Component, 3)
	var all sync.WaitGroup
	all.Go(func() {
		if v, err := r.client.Client.Version(ctx); err == nil {
			out[0] = model.Component{Name: "containerd", Version: v.Version, Commit: v.Revision}
		}
	})
	all.Go(func() { out[1] = askVersion(ctx, "runc", "runc") })
	all.Go(func() {
		if program, err := r.Containers.host.Init(); err == nil {
			out[2] = askVersion(ctx, "docker-init", program)
		}
	})
	all.Wait()
	var known []model.Component
	for _, c := range out {
		if c.Version != "" {
			known = append(known, c)
		}
	}
	return known
}

func askVersion(ctx context.Context, name, program string) model.Component {
	raw, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return model.Component{}
	}
	return parseVersion(name, string(raw))
}

// parseVersion reads what runc ("runc version 1.1.5", "commit: v1.1.5-0-gf19387a6") and tini
// ("tini version 0.19.0 - git.de40ad0") say.
func parseVersion(name, text string) model.Component {
	out := model.Component{Name: name}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if commit, ok := strings.CutPrefix(line, "commit: "); ok {
			out.Commit = commit
		}
		if _, rest, ok := strings.Cut(line, " version "); ok && out.Version == "" {
			version, git, _ := strings.Cut(rest, " - git.")
			out.Version, out.Commit = version, git
		}
	}
	return out
}
