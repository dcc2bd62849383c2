package services

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	hub "github.com/linkspan/linkspan/internal/cluster/services"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

// TestWhatOldVersionsLack: the first version that has a field is the first whose clients
// can set it.
func TestWhatOldVersionsLack(t *testing.T) {
	number := int64(1)
	full := func() *given {
		s := &given{Networks: []swarm.NetworkAttachmentConfig{{Target: "old"}}}
		s.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{}, GlobalJob: &swarm.GlobalJob{}}
		s.TaskTemplate = swarm.TaskSpec{
			Resources: &swarm.ResourceRequirements{Limits: &swarm.Limit{Pids: 1}, SwapBytes: &number, MemorySwappiness: &number},
			Placement: &swarm.Placement{MaxReplicas: 1},
			ContainerSpec: &swarm.ContainerSpec{
				OomScoreAdj: 1, Mounts: []mount.Mount{{TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{"exec"}}}}},
				Privileges:  &swarm.Privileges{Seccomp: &swarm.SeccompOpts{}, AppArmor: &swarm.AppArmorOpts{}, NoNewPrivileges: true, CredentialSpec: &swarm.CredentialSpec{Config: "c"}},
				Healthcheck: &container.HealthConfig{StartInterval: 1}, CapabilityAdd: []string{"a"}, CapabilityDrop: []string{"b"}, Ulimits: []*container.Ulimit{{}},
				Sysctls: map[string]string{"a": "b"}, Configs: []*swarm.ConfigReference{nil, {Runtime: &swarm.ConfigReferenceRuntimeTarget{}}},
			},
		}
		return s
	}
	for name, field := range map[string]struct {
		since httpkit.Version
		has   func(*given) bool
	}{
		"swap":           {52, func(s *given) bool { return s.TaskTemplate.Resources.SwapBytes != nil }},
		"swappiness":     {52, func(s *given) bool { return s.TaskTemplate.Resources.MemorySwappiness != nil }},
		"oom score":      {46, func(s *given) bool { return s.TaskTemplate.ContainerSpec.OomScoreAdj != 0 }},
		"tmpfs options":  {46, func(s *given) bool { return s.TaskTemplate.ContainerSpec.Mounts[0].TmpfsOptions.Options != nil }},
		"seccomp":        {44, func(s *given) bool { return s.TaskTemplate.ContainerSpec.Privileges.Seccomp != nil }},
		"apparmor":       {44, func(s *given) bool { return s.TaskTemplate.ContainerSpec.Privileges.AppArmor != nil }},
		"no privileges":  {44, func(s *given) bool { return s.TaskTemplate.ContainerSpec.Privileges.NoNewPrivileges }},
		"start interval": {44, func(s *given) bool { return s.TaskTemplate.ContainerSpec.Healthcheck.StartInterval != 0 }},
		"new networks":   {44, func(s *given) bool { return len(s.TaskTemplate.Networks) == 0 }},
		"jobs":           {41, func(s *given) bool { return s.Mode.ReplicatedJob != nil && s.Mode.GlobalJob != nil }},
		"capabilities": {41, func(s *given) bool {
			return s.TaskTemplate.ContainerSpec.CapabilityAdd != nil && s.TaskTemplate.ContainerSpec.CapabilityDrop != nil
		}},
		"ulimits":        {41, func(s *given) bool { return s.TaskTemplate.ContainerSpec.Ulimits != nil }},
		"pids":           {41, func(s *given) bool { return s.TaskTemplate.Resources.Limits.Pids != 0 }},
		"sysctls":        {40, func(s *given) bool { return s.TaskTemplate.ContainerSpec.Sysctls != nil }},
		"max replicas":   {40, func(s *given) bool { return s.TaskTemplate.Placement.MaxReplicas != 0 }},
		"config runtime": {40, func(s *given) bool { return s.TaskTemplate.ContainerSpec.Configs[1].Runtime != nil }},
		"credentials":    {40, func(s *given) bool { return s.TaskTemplate.ContainerSpec.Privileges.CredentialSpec.Config != "" }},
	} {
		for v := httpkit.OldestVersion; v <= httpkit.NewestVersion; v++ {
			s := full()
			adjust(v, s)
			if got := field.has(s); got != (v >= field.since) {
				t.Errorf("%s in %s: %t", name, v, got)
			}
		}
	}
	for v := httpkit.OldestVersion; v <= httpkit.NewestVersion; v++ {
		adjust(v, &given{}) // nothing is there to be taken out
	}
}

// TestLine: what stands before a line, as clients read it.
func TestLine(t *testing.T) {
	e := hub.LogEntry{Time: time.Unix(1, 5).In(time.FixedZone("", 3600)), Text: []byte("hello\n"), Attributes: map[string]string{"b": "x y", "a": "1"}}
	for want, got := range map[string][]byte{
		"hello\n":                                line(e, false, false),
		"1970-01-01T00:00:01.000000005Z hello\n": line(e, true, false),
		"a=1,b=x+y hello\n":                      line(e, false, true),
		"1970-01-01T00:00:01.000000005Z a=1,b=x+y hello\n": line(e, true, true),
	} {
		if string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
