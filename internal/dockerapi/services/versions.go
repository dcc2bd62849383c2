package services

import "github.com/linkspan/linkspan/internal/dockerapi/httpkit"

// adjust takes out of a specification what the client's version of the API does not
// have, as Docker does: old clients send back what they have read and not understood.
func adjust(v httpkit.Version, s *given) {
	adjustTask(v, s)
	adjustContainer(v, s)
	if v < 41 {
		s.Mode.ReplicatedJob, s.Mode.GlobalJob = nil, nil
	}
	if v < 44 && len(s.TaskTemplate.Networks) == 0 {
		s.TaskTemplate.Networks = s.Networks
	}
}

func adjustTask(v httpkit.Version, s *given) {
	if r := s.TaskTemplate.Resources; r != nil {
		if v < 52 {
			r.SwapBytes, r.MemorySwappiness = nil, nil
		}
		if v < 41 && r.Limits != nil {
			r.Limits.Pids = 0
		}
	}
	if p := s.TaskTemplate.Placement; v < 40 && p != nil {
		p.MaxReplicas = 0
	}
}

func adjustContainer(v httpkit.Version, s *given) {
	c := s.TaskTemplate.ContainerSpec
	if c == nil {
		return
	}
	if v < 46 {
		c.OomScoreAdj = 0
		for _, m := range c.Mounts {
			if m.TmpfsOptions != nil {
				m.TmpfsOptions.Options = nil
			}
		}
	}
	if p := c.Privileges; v < 44 && p != nil {
		p.Seccomp, p.AppArmor, p.NoNewPrivileges = nil, nil, false
	}
	if v < 44 && c.Healthcheck != nil {
		c.Healthcheck.StartInterval = 0
	}
	if v < 41 {
		c.CapabilityAdd, c.CapabilityDrop, c.Ulimits = nil, nil, nil
	}
	if v < 40 {
		c.Sysctls = nil
		if c.Privileges != nil && c.Privileges.CredentialSpec != nil {
			c.Privileges.CredentialSpec.Config = ""
		}
		for _, config := range c.Configs {
			if config != nil {
				config.Runtime = nil
			}
		}
	}
}
