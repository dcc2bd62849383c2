package ocispec

import (
	"errors"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	profiles "github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

// filter returns which system calls the processes of s may make; nil is all. Error: Invalid
// for a profile that cannot be read, with Docker's words.
func (o security) filter(s *specs.Spec) (*specs.LinuxSeccomp, error) {
	if o.seccomp == "" {
		return seccomp.DefaultProfile(s), nil
	}
	out, err := loadProfile(o.seccomp, s)
	if err != nil {
		return nil, &model.Error{Kind: model.Invalid, Err: err,
			Way: "a profile is given as JSON in Docker's format; the docker command reads it from the file that it is given"}
	}
	return out, nil
}

// loadProfile reads a profile. The library takes null among the system calls for one.
func loadProfile(profile string, s *specs.Spec) (out *specs.LinuxSeccomp, err error) {
	defer func() {
		if recover() != nil {
			out, err = nil, errors.New("Decoding seccomp profile failed: a system call is null")
		}
	}()
	return profiles.LoadProfile(profile, s)
}
