package dockerapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/containers/commit"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

func TestContainerVerbs(t *testing.T) {
	for _, c := range []struct {
		method, path, body string
		status             int
		call               string
	}{
		{"POST", "/containers/c1/start", "", 204, "start c1"},
		{"POST", "/containers/c1/start", "{}", 204, "start c1"},
		{"POST", "/containers/c1/stop", "", 204, "stop c1  default"},
		{"POST", "/containers/c1/stop?t=0&signal=INT", "", 204, "stop c1 INT 0"},
		{"POST", "/v1.41/containers/c1/stop?t=-1&signal=INT", "", 204, "stop c1  -1"},
		{"POST", "/containers/c1/restart?t=5", "", 204, "restart c1  5"},
		{"POST", "/containers/c1/kill?signal=HUP", "", 204, "kill c1 HUP"},
		{"POST", "/containers/c1/pause", "", 204, "pause c1"},
		{"POST", "/containers/c1/unpause", "", 204, "unpause c1"},
		{"POST", "/containers/c1/rename?name=c2", "", 204, "rename c1 c2"},
		{"DELETE", "/containers/c1?v=1&force=true", "", 204, "remove c1 {Force:true Volumes:true}"},
		{"DELETE", "/containers/c1/db?link=1", "", 204, "unlink c1/db"},
		{"DELETE", "/containers/c1?v=0&force=false", "", 204, "remove c1 {Force:false Volumes:false}"},
		{"GET", "/containers/c1/top", "", 200, `top c1 ["-ef"]`},
		{"GET", "/containers/c1/top?ps_args=-o+pid,cmd", "", 200, `top c1 ["-o" "pid,cmd"]`},
		{"POST", "/containers/c1/resize?h=24&w=80", "", 200, "resize c1 80x24"},
		{"POST", "/containers/c1/update", `{"Memory":7,"RestartPolicy":{"Name":"always"}}`, 200, "update c1"},
		{"POST", "/containers/prune?filters=%7B%22label%22%3A%5B%22a%22%5D%7D", "", 200, "prune map[label:[a]]"},
		{"GET", "/containers/c1/json?size=1", "", 200, "inspect c1"},
		{"POST", "/exec/e1/resize?h=1&w=2", "", 200, "resize exec e1 2x1"},
		{"POST", "/containers/c1/exec", `{"Cmd":["true"]}`, 201, "exec c1"},
	} {
		b := newBench(t)
		b.want(t, c.status, "", c.method, c.path, c.body)
		if got := b.noted(); got != c.call {
			t.Errorf("%s: called %q, want %q", c.path, got, c.call)
		}
		b.err = model.Errorf(model.NotFound, "No such container: c1")
		b.want(t, 404, `{"message":"No such container: c1"}`, c.method, c.path, c.body)
	}
}

func TestContainerRefusals(t *testing.T) {
	b := newBench(t)
	b.want(t, 400, `invalid value for t: \"soon\" is not a number`, "POST", "/containers/c1/stop?t=soon")
	b.want(t, 400, `invalid value for limit`, "GET", "/containers/json?limit=many")
	b.want(t, 400, `invalid resize height \"x\"`, "POST", "/containers/c1/resize?h=x&w=1")
	b.want(t, 400, `invalid resize width \"-1\"`, "POST", "/exec/e1/resize?h=1&w=-1")
	b.want(t, 400, `invalid condition: \"never\"`, "POST", "/containers/c1/wait?condition=never")
	b.want(t, 400, `invalid filter`, "GET", "/containers/json?filters=x")
	b.want(t, 400, `starting container with non-empty request body`, "POST", "/containers/c1/start", `{"HostConfig":{}}`)
	b.want(t, 501, `checkpoints are not supported`, "POST", "/containers/c1/start?checkpoint=x")
	if got := b.noted(); got != "" {
		t.Errorf("passed on: %s", got)
	}
}

func TestListContainers(t *testing.T) {
	b := newBench(t)
	b.want(t, 200, "[]\n", "GET", "/containers/json?all=1&limit=3&size=true&since=c7&filters="+url.QueryEscape(`{"name":["web"]}`))
	want := containerhub.ListOptions{All: true, Limit: 3, Size: true, Filters: containerhub.Filters{"name": {"web"}, "since": {"c7"}}}
	if !reflect.DeepEqual(b.list, want) {
		t.Errorf("%+v, want %+v", b.list, want)
	}
}

func TestCreateContainer(t *testing.T) {
	b := newBench(t)
	w := b.ask("POST", "/containers/create?name=web", `{"Image":"busybox","Cmd":["sh"],"Hostname":"h","Tty":true,"ExposedPorts":{"80/tcp":{}},
		"HostConfig":{"NetworkMode":"mynet","PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},"Dns":["192.0.2.1"],"AutoRemove":true},
		"NetworkingConfig":{"EndpointsConfig":{"mynet":{"IPAMConfig":{"IPv4Address":"10.9.0.7"},"Aliases":["a"],"MacAddress":""}}}}`)
	if w.Code != 201 || strings.TrimSpace(w.Body.String()) != `{"Id":"c0ffee","Warnings":["beware"]}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	c := b.create
	port := network.MustParsePort("80/tcp")
	if c.Name != "web" || c.Config.Image != "busybox" || !c.Config.Tty || c.Host.NetworkMode != "mynet" || !c.Host.AutoRemove ||
		c.Host.PortBindings[port][0].HostPort != "8080" || c.Networking.EndpointsConfig["mynet"].IPAMConfig.IPv4Address.String() != "10.9.0.7" {
		t.Errorf("passed on: %+v %+v", c.Config, c.Host)
	}
	b.want(t, 400, `invalid JSON: ParseAddr(\"nonsense\")`, "POST", "/containers/create", `{"Image":"busybox","HostConfig":{"Dns":["nonsense"]}}`)
	b.want(t, 400, `invalid JSON: `, "POST", "/containers/create", `{"Image":"busybox","ExposedPorts":{"http":{}}}`)
}

func TestCreateForPlatform(t *testing.T) {
	b := newBench(t)
	for _, good := range []string{"linux/amd64", "linux/x86_64", "amd64"} {
		b.want(t, 201, "", "POST", "/containers/create?platform="+url.QueryEscape(good), `{"Image":"busybox"}`)
	}
	b.want(t, 404, "does not match the specified platform (linux/arm64/v8)", "POST", "/containers/create?platform=linux/arm64/v8", `{"Image":"busybox"}`)
	b.want(t, 404, "does not match", "POST", "/containers/create?platform=windows/amd64", `{"Image":"busybox"}`)
	b.want(t, 404, "No such image: gone", "POST", "/containers/create?platform=linux/amd64", `{"Image":"gone"}`)
}

// TestCreateMAC: the container's MAC address through the ages.
func TestCreateMAC(t *testing.T) {
	const deprecated = "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
	mac := func(host, networking string) string {
		return `{"Image":"busybox","MacAddress":"02:00:00:00:00:01","HostConfig":{` + host + `},"NetworkingConfig":{` + networking + `}}`
	}
	endpoint := func(mac string) string {
		return `"EndpointsConfig":{"mynet":{"MacAddress":"` + mac + `"}}`
	}
	for _, c := range []struct {
		name, version, body string
		status              int
		answer              string
		network, want       string
	}{
		{"1.43 default network", "1.43", mac("", ""), 201, `["beware"]`, "bridge", "02:00:00:00:00:01"},
		{"1.43 user network", "1.43", mac(`"NetworkMode":"mynet"`, endpoint("")), 201, `["beware"]`, "mynet", "02:00:00:00:00:01"},
		{"1.43 by ID", "1.43", mac(`"NetworkMode":"abc"`, endpoint("")), 201, `["beware"]`, "mynet", "02:00:00:00:00:01"},
		{"1.43 host", "1.43", mac(`"NetworkMode":"host"`, ""), 400, "conflicting options: mac-address and the network mode", "", ""},
		{"1.43 shared", "1.43", mac(`"NetworkMode":"container:x"`, ""), 400, "conflicting options: mac-address and the network mode", "", ""},
		{"1.43 endpoint's is ignored", "1.43", `{"Image":"x","HostConfig":{"NetworkMode":"mynet"},"NetworkingConfig":{` + endpoint("02:00:00:00:00:02") + `}}`, 201, "", "mynet", ""},
		{"1.44 by ID", "1.44", mac(`"NetworkMode":"abc"`, endpoint("")), 400, "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks", "", ""},
		{"1.44 by the word for the bridge", "1.44", mac(``, `"EndpointsConfig":{"default":{}}`), 201, deprecated, "bridge", "02:00:00:00:00:01"},
		{"1.44 warns", "1.44", mac(`"NetworkMode":"mynet"`, ""), 201, deprecated, "mynet", "02:00:00:00:00:01"},
		{"1.44 host", "1.44", mac(`"NetworkMode":"host"`, ""), 201, deprecated, "", ""},
		{"1.51 both alike", "1.51", mac(`"NetworkMode":"mynet"`, endpoint("02:00:00:00:00:01")), 201, deprecated, "mynet", "02:00:00:00:00:01"},
		{"1.51 both different", "1.51", mac(`"NetworkMode":"mynet"`, endpoint("02:00:00:00:00:02")), 400, "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty", "", ""},
		{"1.52 refuses", "1.52", mac("", ""), 400, "container-wide MAC address no longer supported; use endpoint-specific MAC address instead", "", ""},
		{"1.52 endpoint's", "1.52", `{"Image":"x","NetworkingConfig":{` + endpoint("02:00:00:00:00:02") + `}}`, 201, "", "mynet", "02:00:00:00:00:02"},
	} {
		b := newBench(t)
		w := b.ask("POST", "/v"+c.version+"/containers/create", c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.answer) {
			t.Errorf("%s: %d %s, want %d %s", c.name, w.Code, w.Body, c.status, c.answer)
		}
		if c.network == "" {
			continue
		}
		if e := b.create.Networking.EndpointsConfig[c.network]; e == nil || e.MacAddress.String() != c.want {
			t.Errorf("%s: endpoints %+v, want %s", c.name, b.create.Networking.EndpointsConfig, c.want)
		}
	}
}

func TestCreateQuirks(t *testing.T) {
	b := newBench(t)
	two := `{"Image":"x","HostConfig":{"NetworkMode":"b"},"NetworkingConfig":{"EndpointsConfig":{"b":{},"a":{}}}}`
	b.want(t, 400, "Container cannot be created with multiple network endpoints: a, b", "POST", "/v1.43/containers/create", two)
	b.want(t, 201, "", "POST", "/v1.44/containers/create", two)
	sysctl := `{"Image":"x","HostConfig":{"NetworkMode":"b","Sysctls":{"net.ipv4.conf.eth0.log_martians":"1","net.core.somaxconn":"9"}}}`
	b.want(t, 201, `Migrated sysctl \"net.ipv4.conf.eth0.log_martians=1\" to DriverOpts{\"com.docker.network.endpoint.sysctls\":\"net.ipv4.conf.IFNAME.log_martians=1\"}.`,
		"POST", "/v1.47/containers/create", sysctl)
	if got := fmt.Sprint(b.create.Host.Sysctls, b.create.Networking.EndpointsConfig["b"].DriverOpts); got != "map[net.core.somaxconn:9] map[com.docker.network.endpoint.sysctls:net.ipv4.conf.IFNAME.log_martians=1]" {
		t.Error(got)
	}
	b.want(t, 201, "", "POST", "/v1.48/containers/create", sysctl)
	if len(b.create.Host.Sysctls) != 2 {
		t.Errorf("1.48 moved sysctls: %v", b.create.Host.Sysctls)
	}
}

func inspected() container.InspectResponse {
	e := &network.EndpointSettings{NetworkID: "n", EndpointID: "e", IPPrefixLen: 16, Aliases: []string{"a"}}
	var bad error
	for text, to := range map[string]interface{ UnmarshalText([]byte) error }{
		"172.17.0.2": &e.IPAddress, "172.17.0.1": &e.Gateway, "02:42:ac:11:00:02": &e.MacAddress,
	} {
		if err := to.UnmarshalText([]byte(text)); err != nil {
			bad = err
		}
	}
	if bad != nil {
		panic(bad)
	}
	return container.InspectResponse{
		ID: id("1"), Name: "/web", State: &container.State{}, HostConfig: &container.HostConfig{NetworkMode: "bridge"},
		Config: &container.Config{Hostname: "h", Image: "busybox"},
		NetworkSettings: &container.NetworkSettings{SandboxID: "s", SandboxKey: "/run/netns/x", Ports: network.PortMap{},
			Networks: map[string]*network.EndpointSettings{"bridge": e, "mynet": {Aliases: []string{"a", "h"}}}},
	}
}

func TestInspectThroughTheAges(t *testing.T) {
	b := newBench(t)
	b.inspect = inspected()
	type settings struct {
		IPAddress, Gateway, MacAddress, EndpointID, SandboxKey *string
		IPPrefixLen                                            int
		HairpinMode                                            *bool
		Networks                                               map[string]struct{ Aliases []string }
	}
	read := func(v string) (s settings, mac string) {
		var answer struct {
			Config          struct{ MacAddress, Hostname string }
			NetworkSettings settings
			Name            string
		}
		w := b.ask("GET", "/v"+v+"/containers/web/json", "")
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Name != "/web" || answer.Config.Hostname != "h" {
			t.Fatalf("%s: %v %s", v, err, w.Body)
		}
		return answer.NetworkSettings, answer.Config.MacAddress
	}
	now, _ := read("1.52")
	if now.IPAddress != nil || now.HairpinMode != nil || *now.SandboxKey != "/run/netns/x" {
		t.Errorf("1.52 has old fields: %+v", now)
	}
	then, mac := read("1.51")
	if then.IPAddress == nil || *then.IPAddress != "172.17.0.2" || *then.Gateway != "172.17.0.1" || *then.MacAddress != "02:42:ac:11:00:02" ||
		*then.EndpointID != "e" || then.IPPrefixLen != 16 || then.HairpinMode == nil || *then.SandboxKey != "/run/netns/x" || mac != "" {
		t.Errorf("1.51: %+v %s", then, mac)
	}
	if got := fmt.Sprint(then.Networks["mynet"].Aliases); got != "[a h]" {
		t.Errorf("1.51 aliases: %s", got)
	}
	older, mac := read("1.43")
	if got := fmt.Sprint(older.Networks["mynet"].Aliases, older.Networks["bridge"].Aliases); got != "[a h 111111111111] [a]" || mac != "" {
		t.Errorf("1.43: %s %s", got, mac)
	}
	if len(b.inspect.NetworkSettings.Networks["mynet"].Aliases) != 2 {
		t.Error("the answer changed the container's own record")
	}
}

// TestInspectShowsTheConfiguredMAC: until 1.51 the container's own field has the
// MAC address that was asked for, and no other (D15).
func TestInspectShowsTheConfiguredMAC(t *testing.T) {
	const mac = "02:42:ac:11:00:02"
	for name, c := range map[string]struct {
		up, static bool
		want       string
	}{
		"up, asked for":      {true, true, mac},
		"up, computed":       {true, false, ""},
		"stopped, asked for": {false, true, mac},
	} {
		b := newBench(t)
		spec := ops.EndpointSpec{ID: "e", Network: "bridge"}
		if c.static {
			spec.MAC = mac
		}
		sandbox := model.SandboxID(id("1"))
		b.do(t, ops.CreateSandbox(model.Sandbox{ID: sandbox, Container: model.ContainerID(id("1")), Name: "web", Mode: model.SandboxOwn}, []ops.EndpointSpec{spec}))
		b.inspect = inspected()
		if !c.up {
			b.inspect.NetworkSettings.Networks["bridge"].EndpointID = ""
		}
		for version, want := range map[string]string{"1.43": c.want, "1.51": c.want, "1.52": ""} {
			var answer struct{ Config struct{ MacAddress string } }
			w := b.ask("GET", "/v"+version+"/containers/web/json", "")
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Config.MacAddress != want {
				t.Errorf("%s, %s: %q (%v), want %q", name, version, answer.Config.MacAddress, err, want)
			}
		}
	}
}

// TestInspectNamesTheStorage: in the field of the client's time.
func TestInspectNamesTheStorage(t *testing.T) {
	b := newBench(t)
	b.inspect = inspected()
	b.inspect.Driver = "native"
	b.want(t, 200, `"GraphDriver":{"Data":null,"Name":"native"}`, "GET", "/v1.51/containers/web/json")
	b.want(t, 200, `"Storage":{"RootFS":{"Snapshot":{"Name":"native"}}}`, "GET", "/v1.52/containers/web/json")
}

func TestInspectOfAStoppedContainerHasEmptyAddresses(t *testing.T) {
	b := newBench(t)
	b.inspect = inspected()
	b.inspect.NetworkSettings.Networks = map[string]*network.EndpointSettings{}
	b.want(t, 200, `"IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","MacAddress":""`, "GET", "/v1.40/containers/web/json")
}

// TestCommit: how clients say what the image shall be; what they leave out is the container's.
func TestCommit(t *testing.T) {
	b := newBench(t)
	b.want(t, 201, `{"Id":"sha256:5"}`, "POST", "/commit?container=c1&repo=kept&tag=two&author=me&comment=so&changes=CMD+a&changes=USER+b&pause=0")
	want := commit.Request{Ref: "c1", Name: "kept:two", Author: "me", Comment: "so", Changes: []string{"CMD a", "USER b"}, NoPause: true}
	if diff := cmp.Diff(want, b.committed); diff != "" {
		t.Error(diff)
	}
	b.ask("POST", "/commit?container=c1&tag=only", `{"User":"u"}`)
	if got := b.committed; got.Name != "" || got.NoPause || got.Config == nil || got.Config.User != "u" {
		t.Errorf("%+v", got)
	}
}
