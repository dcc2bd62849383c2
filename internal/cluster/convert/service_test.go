package convert

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
)

// fullSpec returns the specification of a service of which every field is set that can
// be set at once.
func fullSpec() swarm.ServiceSpec {
	var s swarm.ServiceSpec
	fill(reflect.ValueOf(&s).Elem(), "")
	s.Mode = swarm.ServiceMode{ReplicatedJob: s.Mode.ReplicatedJob}
	c := s.TaskTemplate.ContainerSpec
	c.Privileges.CredentialSpec = &swarm.CredentialSpec{File: "only one of the three"}
	c.Configs[0].Runtime, c.Configs[1].File = nil, nil
	for i, r := range s.TaskTemplate.Resources.Reservations.GenericResources {
		if i == 0 {
			r.NamedResourceSpec = nil
		} else {
			r.DiscreteResourceSpec = nil
		}
		s.TaskTemplate.Resources.Reservations.GenericResources[i] = r
	}
	return s
}

// notCarried are fields that Docker's types have, and swarms do not.
var notCarried = map[string]string{
	".TaskTemplate.PluginSpec":                          "the plugin runtime is experimental in Docker, and not there here",
	".TaskTemplate.NetworkAttachmentSpec":               "is never asked for by a client",
	".TaskTemplate.ContainerSpec.Mounts.Consistency":    "is for macOS; Docker does not pass it on",
	".TaskTemplate.ContainerSpec.Mounts.ImageOptions":   "services have no mounts of images",
	".TaskTemplate.ContainerSpec.Mounts.ClusterOptions": "has no field",
}

// TestEveryFieldIsCarried: what a client writes of a service it reads again. A field
// that a new version of Docker's types has fails here.
func TestEveryFieldIsCarried(t *testing.T) {
	want := fullSpec()
	carried, err := ServiceSpec(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := serviceSpecOf(&carried)
	if err != nil {
		t.Fatal(err)
	}
	lost := map[string]bool{}
	for _, path := range differences(reflect.ValueOf(want), reflect.ValueOf(*got), "") {
		lost[path] = true
		if notCarried[path] == "" {
			t.Errorf("%s is lost on the way: carry it, or say why not in notCarried", path)
		}
	}
	for path, why := range notCarried {
		if why != "" && !lost[path] {
			t.Errorf("%s is in notCarried, and is carried", path)
		}
	}
}

// notAsked are fields that swarmkit has, and no client can set.
var notAsked = map[string]string{
	".Annotations.Indices": "for swarmkit's own use", ".Networks": "for services made by clients of long ago",
	".Task.ResourceReferences":                   "for runtimes that are no containers",
	".Task.Runtime.Container.PullOptions":        "is the answer of X-Registry-Auth, not of the specification",
	".Task.Runtime.Container.Mounts.Consistency": "is for macOS",
	".Task.Networks.Addresses":                   "are of containers that join by themselves",
	".Task.Resources.Limits.Generic":             "limits have none",
}

// TestNothingOfSwarmkitIsForgotten: a field that a new version of swarmkit has fails here.
func TestNothingOfSwarmkitIsForgotten(t *testing.T) {
	carried, err := ServiceSpec(fullSpec())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range unset(reflect.ValueOf(carried), "") {
		if notAsked[path] == "" {
			t.Errorf("%s is never set: set it, or say why not in notAsked", path)
		}
	}
}

// notTold are fields of Docker's that have no value though all of swarmkit's have.
var notTold = map[string]string{
	".ServiceStatus": "is counted by who lists services", ".Spec.Mode.Replicated": "one mode at a time", ".Spec.Mode.Global": "one mode at a time",
	".Spec.Mode.GlobalJob": "one mode at a time", ".Spec.ConfigFrom": "is a choice, filled elsewhere",
}

func told(t *testing.T, what string, v any, also ...string) {
	t.Helper()
	for _, path := range unset(reflect.ValueOf(v), "") {
		expected := notTold[path] != "" || notCarried[strings.TrimPrefix(strings.Replace(path, ".PreviousSpec", ".Spec", 1), ".Spec")] != ""
		path = strings.Replace(path, ".PreviousSpec", ".Spec", 1)
		expected = expected || notTold[path] != ""
		for _, prefix := range also {
			expected = expected || strings.HasPrefix(path, prefix)
		}
		if !expected {
			t.Errorf("%s%s is not told", what, path)
		}
	}
}

// TestEverythingIsTold: of objects of which swarmkit says everything, Docker's clients
// learn everything.
func TestEverythingIsTold(t *testing.T) {
	spec, err := ServiceSpec(fullSpec())
	if err != nil {
		t.Fatal(err)
	}
	var s api.Service
	fill(reflect.ValueOf(&s).Elem(), "")
	s.Spec, s.PreviousSpec = spec, &spec
	service, err := Service(&s)
	if err != nil {
		t.Fatal(err)
	}
	choices := []string{".Spec.TaskTemplate.ContainerSpec.Configs", ".Spec.TaskTemplate.ContainerSpec.Privileges.CredentialSpec", ".Spec.TaskTemplate.Resources.Reservations.GenericResources"}
	told(t, "Service", service, choices...)

	var task api.Task
	fill(reflect.ValueOf(&task).Elem(), "")
	task.Spec = spec.Task
	task.Status.RuntimeStatus = &api.TaskStatus_Container{Container: &api.ContainerStatus{ContainerID: "c", PID: 1, ExitCode: 2}}
	told(t, "Task", Task(&task), ".Spec.Runtime", ".Spec.ContainerSpec", ".Spec.PluginSpec", ".Spec.NetworkAttachmentSpec", ".Spec.Resources.Reservations.GenericResources",
		".GenericResources", ".NetworksAttachments.Network.Spec.ConfigFrom")

	var n api.Network
	fill(reflect.ValueOf(&n).Elem(), "")
	told(t, "Network", Network(&n))
	n.Spec.ConfigFrom = &api.NetworkSpec_Network{Network: "elsewhere"}
	if from := Network(&n).Spec.ConfigFrom; from == nil || from.Network != "elsewhere" {
		t.Errorf("the network's configuration comes from %v", from)
	}

	var secret api.Secret
	fill(reflect.ValueOf(&secret).Elem(), "")
	told(t, "Secret", Secret(&secret))
	if again := SecretSpec(Secret(&secret).Spec); !reflect.DeepEqual(again, func() api.SecretSpec { s := secret.Spec; s.Annotations.Indices = nil; return s }()) {
		t.Errorf("the secret %+v became %+v", secret.Spec, again)
	}
	var config api.Config
	fill(reflect.ValueOf(&config).Elem(), "")
	told(t, "Config", Config(&config))
	if again := ConfigSpec(Config(&config).Spec); !reflect.DeepEqual(again, func() api.ConfigSpec { s := config.Spec; s.Annotations.Indices = nil; return s }()) {
		t.Errorf("the config %+v became %+v", config.Spec, again)
	}
}

// TestModes: which tasks a service has, and what is meant where nothing is said.
func TestModes(t *testing.T) {
	three, two := uint64(3), uint64(2)
	plain := swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{}}
	for name, c := range map[string]struct {
		mode swarm.ServiceMode
		want any
	}{
		"nothing":                    {swarm.ServiceMode{}, &api.ServiceSpec_Replicated{Replicated: &api.ReplicatedService{Replicas: 1}}},
		"replicated, no number":      {swarm.ServiceMode{Replicated: &swarm.ReplicatedService{}}, &api.ServiceSpec_Replicated{Replicated: &api.ReplicatedService{Replicas: 1}}},
		"replicated":                 {swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &three}}, &api.ServiceSpec_Replicated{Replicated: &api.ReplicatedService{Replicas: 3}}},
		"global":                     {swarm.ServiceMode{Global: &swarm.GlobalService{}}, &api.ServiceSpec_Global{Global: &api.GlobalService{}}},
		"global job":                 {swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}, &api.ServiceSpec_GlobalJob{GlobalJob: &api.GlobalJob{}}},
		"job":                        {swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{}}, &api.ServiceSpec_ReplicatedJob{ReplicatedJob: &api.ReplicatedJob{MaxConcurrent: 1, TotalCompletions: 1}}},
		"job, as many as at a time":  {swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &two}}, &api.ServiceSpec_ReplicatedJob{ReplicatedJob: &api.ReplicatedJob{MaxConcurrent: 2, TotalCompletions: 2}}},
		"job, more than at one time": {swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &two, TotalCompletions: &three}}, &api.ServiceSpec_ReplicatedJob{ReplicatedJob: &api.ReplicatedJob{MaxConcurrent: 2, TotalCompletions: 3}}},
	} {
		got, err := ServiceSpec(swarm.ServiceSpec{TaskTemplate: plain, Mode: c.mode})
		if err != nil || !reflect.DeepEqual(got.Mode, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, got.Mode, err, c.want)
			continue
		}
		back, err := serviceSpecOf(&got)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ServiceSpec(*back); err != nil || !reflect.DeepEqual(again.Mode, got.Mode) {
			t.Errorf("%s: sent back it became %v, %v", name, again.Mode, err)
		}
	}
}

// TestServiceRefusals: in Docker's words.
func TestServiceRefusals(t *testing.T) {
	one := int64(1)
	for want, change := range map[string]func(*swarm.ServiceSpec){
		"unsupported runtime":                 func(s *swarm.ServiceSpec) { s.TaskTemplate.Runtime = swarm.RuntimePlugin },
		"mismatched Runtime and *Spec fields": func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec = nil },
		"must specify only one service mode": func(s *swarm.ServiceSpec) {
			s.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}, GlobalJob: &swarm.GlobalJob{}}
		},
		"invalid resolution mode: \"dns\"":         func(s *swarm.ServiceSpec) { s.EndpointSpec = &swarm.EndpointSpec{Mode: "dns"} },
		"unrecognized update failure action panic": func(s *swarm.ServiceSpec) { s.UpdateConfig = &swarm.UpdateConfig{FailureAction: "panic"} },
		"unrecognized update order both":           func(s *swarm.ServiceSpec) { s.RollbackConfig = &swarm.UpdateConfig{Order: "both"} },
		"invalid RestartCondition: \"maybe\"":      func(s *swarm.ServiceSpec) { s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "maybe"} },
		"invalid MountType: \"image\"":             func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Mounts = []mount.Mount{{Type: "image"}} },
		"invalid MountPropagation: \"r\"": func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Mounts = []mount.Mount{{BindOptions: &mount.BindOptions{Propagation: "r"}}}
		},
		"invalid Config: either File or Runtime should be set": func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Configs = []*swarm.ConfigReference{{}} },
		"invalid Config: cannot specify both File and Runtime": func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Configs = []*swarm.ConfigReference{{File: &swarm.ConfigReferenceFileTarget{}, Runtime: &swarm.ConfigReferenceRuntimeTarget{}}}
		},
		`label com.linkspan.ingress.policy is "here": it can be "cluster" or "local"`:                     func(s *swarm.ServiceSpec) { s.Labels = map[string]string{"com.linkspan.ingress.policy": "here"} },
		`label com.linkspan.ingress.affinity is "": it can be "none" or "source"`:                         func(s *swarm.ServiceSpec) { s.Labels = map[string]string{"com.linkspan.ingress.affinity": ""} },
		"memory swap provided, but no memory-limit was set":                                               func(s *swarm.ServiceSpec) { s.TaskTemplate.Resources = &swarm.ResourceRequirements{SwapBytes: &one} },
		`invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec`: func(s *swarm.ServiceSpec) { credentials(s, swarm.CredentialSpec{}) },
		`invalid CredentialSpec: cannot specify both "config" and "file" credential specs`:                func(s *swarm.ServiceSpec) { credentials(s, swarm.CredentialSpec{Config: "c", File: "f"}) },
		`invalid CredentialSpec: cannot specify both "config", "file", and "registry" credential specs`: func(s *swarm.ServiceSpec) {
			credentials(s, swarm.CredentialSpec{Config: "c", File: "f", Registry: "r"})
		},
	} {
		s := swarm.ServiceSpec{TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{}}}
		change(&s)
		if _, err := ServiceSpec(s); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func credentials(s *swarm.ServiceSpec, c swarm.CredentialSpec) {
	s.TaskTemplate.ContainerSpec.Privileges = &swarm.Privileges{CredentialSpec: &c}
}

// FuzzServiceSpec: whatever a client writes, nothing panics; and what it reads of the
// service and sends back unchanged is the same service.
func FuzzServiceSpec(f *testing.F) {
	full, err := json.Marshal(fullSpec())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(`{"TaskTemplate":{"ContainerSpec":{"Ulimits":[null],"Configs":[null],"Secrets":[null,{}],"Mounts":[{"TmpfsOptions":{"Options":[]}}]},"Placement":{"Preferences":[{}]}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s swarm.ServiceSpec
		if json.Unmarshal(raw, &s) != nil {
			return
		}
		first, err := ServiceSpec(s)
		if err != nil {
			return
		}
		read, err := serviceSpecOf(&first)
		if err != nil {
			t.Fatal(err)
		}
		sent, err := json.Marshal(read)
		if err != nil {
			return // a duration or a file mode that JSON has no form for
		}
		var back swarm.ServiceSpec
		if err := json.Unmarshal(sent, &back); err != nil {
			t.Fatal(err)
		}
		second, err := ServiceSpec(back)
		if err != nil {
			t.Fatalf("%s\nis refused when it is sent back: %v", sent, err)
		}
		a, _ := first.Marshal()
		b, _ := second.Marshal()
		if string(a) != string(b) && first.String() != second.String() && targeted(s.TaskTemplate.ContainerSpec) {
			t.Errorf("%v\nbecame\n%v", first.String(), second.String())
		}
	})
}

// targeted tells whether all secrets are to become files: Docker shows no others.
func targeted(c *swarm.ContainerSpec) bool {
	for _, s := range c.Secrets {
		if s != nil && s.File == nil {
			return false
		}
	}
	return true
}
