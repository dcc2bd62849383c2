package ocispec

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

// Exec translates a further process in a container whose first process is own: that one
// with what p says in its place. find returns who p's user is; it is called if p names one.
func Exec(own *specs.Process, p model.Process, host Host, find func() (specs.User, error)) (*specs.Process, error) {
	if len(p.Args) == 0 {
		return nil, model.Errorf(model.Invalid, "No exec command specified")
	}
	limits, err := rlimits(p.Rlimits)
	if err != nil {
		return nil, err
	}
	out := *own
	out.Args, out.Terminal, out.ConsoleSize, out.OOMScoreAdj = p.Args, p.TTY, consoleSize(p), nil
	out.Env = execEnvironment(own, p.TTY, p.Env)
	if p.Dir != "" {
		out.Cwd = workingDir(p.Dir)
	}
	if len(limits) > 0 {
		out.Rlimits = limits
	}
	if p.User != "" || len(p.ExtraGroups) > 0 {
		if out.User, err = find(); err != nil {
			return nil, err
		}
	}
	list := own.Capabilities.Bounding
	if p.Privileged {
		list = host.capabilities
	}
	out.Capabilities = capabilitySets(list, out.User.UID)
	return &out, nil
}
