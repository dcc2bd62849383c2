package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	idN = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
)

// definitions are those of a host as dockerd shows it.
func definitions(t *testing.T) Definitions {
	t.Helper()
	d, err := Parse(strings.NewReader(`{"format": 1, "root": "/var/lib/docker",
		"networks": [
			{"Name": "bridge", "Id": "1", "Driver": "bridge"},
			{"Name": "from", "Id": "2", "Driver": "bridge", "ConfigFrom": {"Network": "template"}, "Options": {"a": "b"}},
			{"Name": "template", "Id": "3", "Driver": "null", "ConfigOnly": true},
			{"Name": "web", "Id": "` + idN + `", "Driver": "bridge", "EnableIPv4": true, "Labels": {"tier": "web"},
			 "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.7.0.0/24", "Gateway": "10.7.0.1"}, {"Gateway": "fd00::1"}]}},
			{"Name": "mesh", "Id": "5", "Driver": "overlay", "Scope": "swarm"}],
		"volumes": [{"Name": "data", "Driver": "local"}, {"Name": "far", "Driver": "rexray"}, {"Name": "old", "Driver": "local"}],
		"containers": [
			{"Id": "` + idB + `", "Name": "/app", "State": {"Running": true},
			 "Config": {"Image": "busybox", "Hostname": "bbbbbbbbbbbb"},
			 "HostConfig": {"NetworkMode": "container:` + idA + `", "VolumesFrom": ["` + idA + `:ro"], "PidMode": "container:` + idA + `"},
			 "NetworkSettings": {"Networks": {}}},
			{"Id": "` + idA + `", "Name": "/zdb", "State": {"Running": false},
			 "Config": {"Image": "busybox", "Hostname": "aaaaaaaaaaaa", "Env": ["A=b"]},
			 "HostConfig": {"NetworkMode": "` + idN + `", "Binds": ["data:/data", "/anonymous", "/etc:/host"],
			                "Mounts": [{"Type": "volume", "Target": "/mounted"}]},
			 "Mounts": [{"Type": "volume", "Name": "data", "Destination": "/data", "RW": true}, {"Type": "volume", "Name": "v1", "Destination": "/anonymous", "RW": true},
			            {"Type": "volume", "Name": "v2", "Destination": "/mounted", "RW": true}, {"Type": "volume", "Name": "v3", "Destination": "/image", "RW": false},
			            {"Type": "bind", "Source": "/etc", "Destination": "/host"}],
			 "NetworkSettings": {"Networks": {"web": {"IPAMConfig": {"IPv4Address": "10.7.0.9"}, "Aliases": ["base", "aaaaaaaaaaaa"], "GwPriority": 5,
			   "NetworkID": "` + idN + `", "IPAddress": "10.7.0.9", "MacAddress": "02:42:0a:07:00:09", "EndpointID": "e"}}}},
			{"Id": "cccccccccccccccc", "Name": "/linked", "Config": {"Image": "gone:1", "Labels": {}}, "HostConfig": {"NetworkMode": "bridge", "Links": ["/zdb:/linked/db"]}},
			{"Id": "eeeeeeeeeeeeeeee", "Name": "/task.1", "Config": {"Image": "busybox", "Labels": {"com.docker.swarm.task.id": "x"}}, "HostConfig": {}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func here() Here {
	return Here{Networks: map[string]bool{"bridge": true}, Volumes: map[string]bool{"old": true}, Containers: map[string]bool{}, Images: map[string]bool{"busybox": true}}
}

func find(t *testing.T, steps []Step, kind Kind, name string) Step {
	t.Helper()
	for _, s := range steps {
		if s.Kind == kind && s.Name == name {
			return s
		}
	}
	t.Fatalf("no step for %s %s", kind, name)
	return Step{}
}

// TestPlan: what is to be made, in which order, and why the rest is not.
func TestPlan(t *testing.T) {
	var out bytes.Buffer
	if err := Report(&out, Plan(definitions(t), here())); err != nil {
		t.Fatal(err)
	}
	const want = `KIND        NAME       WHAT         WHY
network     template   to be made   
network     from       to be made   
network     mesh       left out     it is a swarm's: make the swarm anew, and its networks with it
network     web        to be made   
volume      data       to be made   
volume      far        left out     volumes of the driver rexray are not supported
volume      old        left out     is here already, and stays as it is
container   task.1     left out     it is a task of a swarm, which makes it anew by itself
container   zdb        to be made   
container   app        to be made   it ran: linkspan start app
container   linked     left out     its image gone:1 is not here: pull or load it, then do this again
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	d := definitions(t)
	d.Root = ""
	if s := find(t, Plan(d, here()), KindVolume, "data"); !strings.Contains(s.Why, "--root") {
		t.Errorf("a volume of nobody knows where: %+v", s)
	}
	if reversed := slices.Clone(d.Containers); len(reversed) > 0 {
		slices.Reverse(reversed)
		d.Containers = reversed
		a, _ := json.Marshal(Plan(definitions(t), here()))
		d.Root = "/var/lib/docker"
		if b, _ := json.Marshal(Plan(d, here())); !bytes.Equal(a, b) {
			t.Errorf("the plan depends on the order in which they are listed")
		}
	}
}

// TestTranslate: what an engine added is left out, names stand for IDs, and no volume is lost.
func TestTranslate(t *testing.T) {
	steps := Plan(definitions(t), here())
	db := find(t, steps, KindContainer, "zdb").Container
	if db.Config.Hostname != "" || db.HostConfig.NetworkMode != "web" || !slices.Equal(db.Config.Env, []string{"A=b"}) {
		t.Errorf("%+v %+v", db.Config, db.HostConfig)
	}
	if want := []string{"data:/data", "/etc:/host", "v1:/anonymous", "v3:/image:ro"}; !slices.Equal(db.HostConfig.Binds, want) || db.HostConfig.Mounts[0].Source != "v2" {
		t.Errorf("binds %q, mounts %+v", db.HostConfig.Binds, db.HostConfig.Mounts)
	}
	e := db.NetworkingConfig.EndpointsConfig["web"]
	if e == nil || e.IPAMConfig.IPv4Address != netip.MustParseAddr("10.7.0.9") || !slices.Equal(e.Aliases, []string{"base"}) || e.GwPriority != 5 ||
		e.NetworkID != "" || e.IPAddress.IsValid() || len(e.MacAddress) != 0 || e.EndpointID != "" {
		t.Errorf("%+v", e)
	}
	app := find(t, steps, KindContainer, "app").Container
	if app.HostConfig.NetworkMode != "container:zdb" || app.HostConfig.PidMode != "container:zdb" || app.NetworkingConfig != nil || app.Config.Hostname != "" || !slices.Equal(app.HostConfig.VolumesFrom, []string{"zdb:ro"}) {
		t.Errorf("%+v %+v", app.Config, app.HostConfig)
	}
	if linked := find(t, steps, KindContainer, "linked").Container; !slices.Equal(linked.HostConfig.Links, []string{"zdb:db"}) {
		t.Errorf("links %q", linked.HostConfig.Links)
	}
	web, from := find(t, steps, KindNetwork, "web").Network, find(t, steps, KindNetwork, "from").Network
	if len(web.IPAM.Config) != 1 || web.IPAM.Config[0].Gateway != netip.MustParseAddr("10.7.0.1") || web.Labels["tier"] != "web" || !*web.EnableIPv4 || *web.EnableIPv6 {
		t.Errorf("%+v", web)
	}
	if from.ConfigFrom != "template" || from.IPAM != nil || from.Options != nil || from.EnableIPv4 != nil {
		t.Errorf("%+v", from)
	}
}

// TestNamingEachOther: containers that need one another do not hold the plan up.
func TestNamingEachOther(t *testing.T) {
	d := Definitions{Containers: []container.InspectResponse{
		{ID: idA, Name: "/a", Config: &container.Config{Image: "busybox"}, HostConfig: &container.HostConfig{VolumesFrom: []string{"b"}}},
		{ID: idB, Name: "/b", Config: &container.Config{Image: "busybox"}, HostConfig: &container.HostConfig{VolumesFrom: []string{"a"}}},
	}}
	if steps := Plan(d, here()); len(steps) != 2 {
		t.Errorf("%+v", steps)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"": "no definitions", "{}": "definitions of format 0: this version reads 1", `{"format": 2}`: "format 2", `{"format": 1}`: "",
		`{"format": 1, "containers": [{"Id": "` + idA + `", "Name": "/x"}]}`: `container "/x" has no definition`, `{"format": 1, "containers": [{"Config": {}, "HostConfig": {}}]}`: "has no definition",
	} {
		if _, err := Parse(strings.NewReader(text)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	d := definitions(t)
	var written bytes.Buffer
	if err := d.Write(&written); err != nil {
		t.Fatal(err)
	}
	again, err := Parse(&written)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := json.Marshal(Plan(d, here()))
	if two, _ := json.Marshal(Plan(again, here())); !bytes.Equal(one, two) {
		t.Error("what was written leads to another plan")
	}
}

// FuzzPlan: a file that somebody else wrote leads to a plan or to an error.
func FuzzPlan(f *testing.F) {
	f.Add(`{"format": 1, "containers": [{"Id": "` + idA + `", "Name": "/a", "Config": {}, "HostConfig": {"Links": [":", "/"], "VolumesFrom": [":"], "NetworkMode": "container:"}, "NetworkSettings": {"Networks": {"x": null}}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := Parse(strings.NewReader(text)); err == nil && len(Plan(d, here())) > len(d.Networks)+len(d.Volumes)+len(d.Containers) {
			t.Error("there are more steps than things")
		}
	})
}

// engine is one that has things and makes things.
type engine struct {
	Target
	has  Definitions
	made []string
	fail string
}

func (e *engine) Info(context.Context, client.InfoOptions) (client.SystemInfoResult, error) {
	return client.SystemInfoResult{}, nil
}

func (e *engine) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{Items: e.has.Networks}, nil
}

func (e *engine) VolumeList(context.Context, client.VolumeListOptions) (client.VolumeListResult, error) {
	return client.VolumeListResult{Items: e.has.Volumes}, nil
}

func (e *engine) ContainerList(context.Context, client.ContainerListOptions) (out client.ContainerListResult, err error) {
	for _, c := range e.has.Containers {
		out.Items = append(out.Items, container.Summary{ID: c.ID})
	}
	return out, nil
}

func (e *engine) ContainerInspect(_ context.Context, id string, _ client.ContainerInspectOptions) (client.ContainerInspectResult, error) {
	for _, c := range e.has.Containers {
		if c.ID == id {
			return client.ContainerInspectResult{Container: c}, nil
		}
	}
	return client.ContainerInspectResult{}, errors.New("not there")
}

func (e *engine) ImageInspect(context.Context, string, ...client.ImageInspectOption) (client.ImageInspectResult, error) {
	return client.ImageInspectResult{}, nil
}

func (e *engine) make(kind Kind, name string) error {
	if name == e.fail {
		return fmt.Errorf("%s cannot be made", name)
	}
	e.made = append(e.made, string(kind)+" "+name)
	switch kind {
	case KindNetwork:
		e.has.Networks = append(e.has.Networks, network.Summary{Network: network.Network{Name: name}})
	case KindVolume:
		e.has.Volumes = append(e.has.Volumes, volume.Volume{Name: name})
	case KindContainer:
		e.has.Containers = append(e.has.Containers, container.InspectResponse{ID: name, Name: "/" + name})
	}
	return nil
}

func (e *engine) NetworkCreate(_ context.Context, name string, _ client.NetworkCreateOptions) (client.NetworkCreateResult, error) {
	return client.NetworkCreateResult{}, e.make(KindNetwork, name)
}

func (e *engine) ContainerCreate(_ context.Context, o client.ContainerCreateOptions) (client.ContainerCreateResult, error) {
	return client.ContainerCreateResult{}, e.make(KindContainer, o.Name)
}

// TestApplyAgain: what failed is made the next time, what was made is left alone, and then there is nothing to do.
func TestApplyAgain(t *testing.T) {
	d, e := definitions(t), &engine{fail: "web"}
	apply := func() (failed int) {
		here, err := Look(t.Context(), e, d)
		if err != nil {
			t.Fatal(err)
		}
		hands := Hands{Target: e, Volume: func(_ context.Context, name string) error { return e.make(KindVolume, name) }}
		return hands.Apply(t.Context(), Plan(d, here), func(Step, error) {})
	}
	if n := apply(); n != 1 {
		t.Errorf("%d failed", n)
	}
	if e.fail, e.made = "", nil; apply() != 0 || !slices.Equal(e.made, []string{"network web"}) {
		t.Errorf("the second time made %q", e.made)
	}
	if e.made = nil; apply() != 0 || len(e.made) != 0 {
		t.Errorf("the third time made %q", e.made)
	}
}
