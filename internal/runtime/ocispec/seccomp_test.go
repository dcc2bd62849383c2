package ocispec

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

// aSpec returns one whose processes have a capability.
func aSpec(capability string) *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: []string{capability}}}, Linux: &specs.Linux{}}
}

// TestProfilesOfUsers: what a profile says by capability follows the container's own.
func TestProfilesOfUsers(t *testing.T) {
	const profile = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
		{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
		{"names":["mount"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_ADMIN"]}}]}`
	o, err := parseSecurity([]string{"seccomp=" + profile})
	if err != nil {
		t.Fatal(err)
	}
	for capability, want := range map[string]int{"CAP_CHOWN": 2, "CAP_SYS_ADMIN": 1} {
		s := aSpec(capability)
		if err := o.confine(s, model.ContainerSpec{}, Host{}); err != nil {
			t.Fatal(err)
		}
		f := s.Linux.Seccomp
		if f == nil || f.DefaultAction != specs.ActAllow || len(f.Syscalls) != want || strings.Join(f.Syscalls[0].Names, " ") != "mkdir mkdirat" || *f.Syscalls[0].ErrnoRet != 13 {
			t.Errorf("%s: %+v", capability, f)
		}
	}
	s := aSpec("CAP_CHOWN")
	if err := o.confine(s, model.ContainerSpec{Privileged: true}, Host{}); err != nil || s.Linux.Seccomp != nil {
		t.Errorf("privileged: %+v, %v", s.Linux.Seccomp, err)
	}
}

func TestBadProfiles(t *testing.T) {
	for profile, want := range map[string]string{
		"/etc/passwd": "Decoding seccomp profile failed: invalid character '/'",
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[null]}`: "Decoding seccomp profile failed: a system call is null",
		"{": "Decoding seccomp profile failed: unexpected end of JSON input",
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`: "both 'architectures' and 'archMap' are specified",
	} {
		err := Host{}.Check(model.ContainerSpec{SecurityOpts: []string{"seccomp=" + profile}})
		if model.KindOf(err) != model.Invalid || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", profile, err)
		}
	}
}

// FuzzProfile: a profile is understood or refused as the user's mistake.
func FuzzProfile(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `[]`, `{"syscalls":[{"name":"x","names":["y"]}]}`, `{"syscalls":[null]}`,
		`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8","arches":["amd64"],"caps":["CAP_BPF"]}}]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, profile string) {
		o := security{seccomp: profile}
		if _, err := o.filter(aSpec("CAP_BPF")); err != nil && model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %v", profile, err)
		}
	})
}

// TestAnnotations are the runtime's, as they were given.
func TestAnnotations(t *testing.T) {
	spec := model.ContainerSpec{ID: "c1", Process: model.Process{Args: []string{"x"}}, Annotations: map[string]string{"a.b": "c"}}
	s, err := Build(spec, specs.User{}, Host{})
	if err != nil || len(s.Annotations) != 1 || s.Annotations["a.b"] != "c" {
		t.Errorf("%v, %v", s.Annotations, err)
	}
}
