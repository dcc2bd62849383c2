package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// fakeDaemon answers with fail, or as one that has a network 10.9.0.0/24.
type fakeDaemon struct {
	fail   error
	asked  []string
	attach privateapi.Request
	check  privateapi.Check
	gc     privateapi.Collect
}

func (d *fakeDaemon) Attach(_ context.Context, r privateapi.Request) (privateapi.Attachment, error) {
	d.attach = r
	d.asked = append(d.asked, "attach")
	return privateapi.Attachment{
		Interface: r.Interface, MAC: "02:42:00:00:00:09", MTU: 1400, Bridge: "br-1", BridgeMAC: "02:42:00:00:00:01", Port: "veth1",
		Addresses: []privateapi.Address{
			{Address: netip.MustParsePrefix("10.9.0.5/24"), Gateway: netip.MustParseAddr("10.9.0.1")},
			{Address: netip.MustParsePrefix("fd09::5/64")},
		},
		Routes: []privateapi.Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.9.0.1")}},
		DNS:    []netip.Addr{netip.MustParseAddr("127.0.0.11")},
	}, d.fail
}

func (d *fakeDaemon) Detach(_ context.Context, r privateapi.Ref) error {
	d.asked = append(d.asked, "detach "+r.Query().Encode())
	return d.fail
}

func (d *fakeDaemon) Check(_ context.Context, r privateapi.Check) error {
	d.check = r
	d.asked = append(d.asked, "check")
	return d.fail
}

func (d *fakeDaemon) Collect(_ context.Context, r privateapi.Collect) (privateapi.Collected, error) {
	d.gc = r
	d.asked = append(d.asked, "collect")
	return privateapi.Collected{}, d.fail
}

func (d *fakeDaemon) Ready(_ context.Context, network string) error {
	d.asked = append(d.asked, "ready "+network)
	return d.fail
}

// call makes a call with "NAME=value" in its environment.
func call(d *fakeDaemon, stdin string, env ...string) (status int, out string) {
	values := map[string]string{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	var stdout, stderr bytes.Buffer
	status = Call{
		Getenv: func(name string) string { return values[name] }, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
		Daemon: func(string) Daemon { return d },
	}.Run(context.Background())
	return status, stdout.String()
}

var full = []string{"CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/blue", "CNI_IFNAME=eth0"}

func with(command string, more ...string) []string {
	return append(append([]string{"CNI_COMMAND=" + command}, full...), more...)
}

func conf(version, more string) string {
	return fmt.Sprintf(`{"cniVersion": %q, "name": "web", "type": "linkspan-cni"%s}`, version, more)
}

// result is what every version of a result has, as far as it is compared.
type result struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details"`
	Interfaces []struct {
		Name, Mac, Sandbox string
		MTU                *int `json:"mtu"`
	}
	IPs []struct {
		Version, Address, Gateway string
		Interface                 *int
	}
	Routes []struct{ Dst, GW string }
	DNS    struct{ Nameservers, Search []string }
}

func parse(t *testing.T, out string) (r result) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return r
}

func TestResultInEveryVersion(t *testing.T) {
	for _, version := range versions {
		status, out := call(&fakeDaemon{}, conf(version, `, "dns": {"search": ["example"]}`), with("ADD")...)
		r := parse(t, out)
		if status != 0 || r.CNIVersion != version || len(r.Interfaces) != 3 || len(r.IPs) != 2 || len(r.Routes) != 1 {
			t.Fatalf("%s: status %d, %s", version, status, out)
		}
		inside := r.Interfaces[2]
		if inside.Name != "eth0" || inside.Sandbox != "/run/netns/blue" || inside.Mac != "02:42:00:00:00:09" || r.Interfaces[1].Sandbox != "" {
			t.Errorf("%s: interfaces %+v", version, r.Interfaces)
		}
		if (inside.MTU != nil) != (version == "1.1.0") {
			t.Errorf("%s: mtu %v, which came with 1.1.0", version, inside.MTU)
		}
		if ip := r.IPs[0]; ip.Address != "10.9.0.5/24" || ip.Gateway != "10.9.0.1" || ip.Interface == nil || *ip.Interface != 2 {
			t.Errorf("%s: address %+v", version, ip)
		}
		if old := version == "0.3.1" || version == "0.4.0"; (r.IPs[0].Version == "4") != old || (r.IPs[1].Version == "6") != old {
			t.Errorf("%s: %+v: the family went with 1.0.0", version, r.IPs)
		}
		if fmt.Sprint(r.DNS) != "{[127.0.0.11] [example]}" || r.Routes[0].Dst != "0.0.0.0/0" {
			t.Errorf("%s: %+v %+v", version, r.DNS, r.Routes)
		}
	}
}

func TestPreviousResultIsKept(t *testing.T) {
	before := `, "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "a0"}, {"name": "net1", "sandbox": "/run/netns/blue"}],
		"ips": [{"address": "192.0.2.7/24", "interface": 1}], "routes": [{"dst": "192.0.2.0/24"}], "dns": {"search": ["first"]}}`
	_, out := call(&fakeDaemon{}, conf("1.0.0", before), with("ADD")...)
	r := parse(t, out)
	if len(r.Interfaces) != 5 || r.Interfaces[0].Name != "a0" || len(r.IPs) != 3 || *r.IPs[0].Interface != 1 || *r.IPs[1].Interface != 4 || len(r.Routes) != 2 {
		t.Errorf("%s", out)
	}
	if fmt.Sprint(r.DNS) != "{[127.0.0.11] [first]}" {
		t.Errorf("dns %+v", r.DNS)
	}
}

func TestWhatIsAsked(t *testing.T) {
	d := &fakeDaemon{}
	id := strings.Repeat("0123456789abcdef", 4)
	runtime := `, "network": "back", "priority": 7, "aliases": ["fixed"], "runtimeConfig": {
		"ips": ["10.9.0.5/24", "fd09::5"], "mac": "02:42:00:00:00:09", "aliases": {"web": ["db"], "other": ["not"]},
		"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": "127.0.0.1"}, {"containerPort": 53, "protocol": "udp"}]}`
	status, out := call(d, conf("1.1.0", runtime), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+id, "CNI_NETNS=/run/netns/blue", "CNI_IFNAME=net7",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=pod;IP=10.9.0.99")
	want := fmt.Sprintf("%+v", privateapi.Request{
		Namespace: "/run/netns/blue", Network: "back", Door: "cni", Config: "web", Container: id, Name: "pod", Hostname: id[:12],
		Interface: "net7", MAC: "02:42:00:00:00:09", Priority: 7,
		Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.5"), netip.MustParseAddr("fd09::5")}, Aliases: []string{"fixed", "db"},
		Publish: []privateapi.Port{{Host: "127.0.0.1", HostPort: 8080, ContainerPort: 80, Protocol: "TCP"}, {ContainerPort: 53, Protocol: "udp"}},
	})
	if got := fmt.Sprintf("%+v", d.attach); status != 0 || got != want {
		t.Errorf("status %d, %s: asked for\n%s, want\n%s", status, out, got, want)
	}
	_, _ = call(d, conf("1.1.0", `, "runtimeConfig": {"aliases": ["one"]}`), with("ADD", "CNI_ARGS=MAC=02:42:00:00:00:01;IP=10.9.0.7")...)
	if fmt.Sprintf("%s %s %s", d.attach.Aliases, d.attach.MAC, d.attach.Addresses) != "[one] 02:42:00:00:00:01 [10.9.0.7]" {
		t.Errorf("by CNI_ARGS: %+v", d.attach)
	}
	_, _ = call(d, conf("1.1.0", `, "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]`), "CNI_COMMAND=GC")
	if d.gc.Config != "web" || len(d.gc.Valid) != 1 || d.gc.Valid[0].Container != "a" || d.gc.Valid[0].Interface != "eth0" {
		t.Errorf("GC asks %+v", d.gc)
	}
	prev := `, "prevResult": {"cniVersion": "0.4.0", "interfaces": [{"name": "eth0"}, {"name": "eth0", "mac": "02:42:00:00:00:05", "sandbox": "/run/netns/blue"}],
		"ips": [{"version": "4", "address": "10.9.0.5/24", "interface": 1}, {"version": "4", "address": "10.1.0.5/24", "interface": 0}]}`
	_, _ = call(d, conf("0.4.0", prev), with("CHECK")...)
	if d.check.MAC != "02:42:00:00:00:05" || fmt.Sprint(d.check.Addresses) != "[10.9.0.5/24]" || d.check.Namespace != "/run/netns/blue" {
		t.Errorf("CHECK asks %+v", d.check)
	}
}

// TestErrors: every fault has the code that the specification gives it, and nothing is
// asked of the daemon that cannot be meant.
func TestErrors(t *testing.T) {
	away := &privateapi.Away{Socket: "/s", Err: errors.New("connection refused")}
	good := conf("1.1.0", "")
	check := `, "prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/blue"}]}`
	for _, c := range []struct {
		name   string
		stdin  string
		env    []string
		daemon error
		code   uint
		text   string
	}{
		{"unknown command", good, with("JOIN"), nil, 4, "CNI_COMMAND=JOIN"},
		{"lower case", good, with("add"), nil, 4, "CNI_COMMAND"},
		{"no container", good, []string{"CNI_COMMAND=ADD", "CNI_NETNS=/n", "CNI_IFNAME=e"}, nil, 4, "CNI_CONTAINERID"},
		{"no namespace", good, []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=c", "CNI_IFNAME=e"}, nil, 4, "CNI_NETNS"},
		{"no interface", good, []string{"CNI_COMMAND=DEL", "CNI_CONTAINERID=c"}, nil, 4, "CNI_IFNAME"},
		{"all missing", good, []string{"CNI_COMMAND=CHECK"}, nil, 4, "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME"},
		{"bad container", good, with("ADD", "CNI_CONTAINERID=../x"), nil, 4, "CNI_CONTAINERID"},
		{"bad interface", good, with("ADD", "CNI_IFNAME=much-too-long-for-one"), nil, 4, "CNI_IFNAME"},
		{"interface with a slash", good, with("ADD", "CNI_IFNAME=a/b"), nil, 4, "CNI_IFNAME"},
		{"relative path", good, with("ADD", "CNI_NETNS=blue"), nil, 4, "CNI_NETNS"},
		{"bad arguments", good, with("ADD", "CNI_ARGS=what"), nil, 4, "CNI_ARGS"},
		{"empty", "", with("ADD"), nil, 6, ""},
		{"no JSON", "{", with("ADD"), nil, 6, ""},
		{"a list", "[]", with("ADD"), nil, 6, ""},
		{"wrong type", `{"cniVersion": 1}`, with("ADD"), nil, 6, ""},
		{"deep", strings.Repeat("[", 1000), with("ADD"), nil, 6, "deeper"},
		{"huge", strings.Repeat(" ", maxInput+2), with("ADD"), nil, 6, "bytes"},
		{"no version", `{"name": "web"}`, with("ADD"), nil, 1, ""},
		{"old version", conf("0.2.0", ""), with("ADD"), nil, 1, "0.2.0"},
		{"version of the future", conf("9.0.0", ""), with("ADD"), nil, 1, "1.1.0"},
		{"CHECK before its time", conf("0.3.1", check), with("CHECK"), nil, 1, "0.4.0"},
		{"STATUS before its time", conf("1.0.0", ""), []string{"CNI_COMMAND=STATUS"}, nil, 1, "1.1.0"},
		{"GC before its time", conf("1.0.0", ""), []string{"CNI_COMMAND=GC"}, nil, 1, "1.1.0"},
		{"no name", `{"cniVersion": "1.1.0"}`, with("ADD"), nil, 7, "name"},
		{"bad name", `{"cniVersion": "1.1.0", "name": "a/b"}`, with("ADD"), nil, 7, ""},
		{"bandwidth", conf("1.1.0", `, "runtimeConfig": {"bandwidth": {"ingressRate": 1}}`), with("ADD"), nil, 2, `{"ingressRate": 1}`},
		{"ranges", conf("1.1.0", `, "runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/24"}]]}`), with("ADD"), nil, 2, "ipRanges"},
		{"ipam", conf("1.1.0", `, "ipam": {"type": "host-local"}`), with("ADD"), nil, 2, "host-local"},
		{"bad address", conf("1.1.0", `, "runtimeConfig": {"ips": ["10.0.0"]}`), with("ADD"), nil, 7, "10.0.0"},
		{"bad port", conf("1.1.0", `, "runtimeConfig": {"portMappings": [{"hostPort": 70000, "containerPort": 80}]}`), with("ADD"), nil, 7, "70000"},
		{"bad aliases", conf("1.1.0", `, "runtimeConfig": {"aliases": 7}`), with("ADD"), nil, 7, "aliases"},
		{"bad prevResult", conf("1.1.0", `, "prevResult": 7`), with("ADD"), nil, 6, "prevResult"},
		{"CHECK without prevResult", good, with("CHECK"), nil, 7, "prevResult"},
		{"CHECK of another's", conf("1.1.0", check), with("CHECK", "CNI_IFNAME=eth9"), nil, 7, "eth9"},
		{"daemon away", good, with("ADD"), away, 11, "away"},
		{"daemon away at DEL", good, with("DEL"), away, 11, "away"},
		{"daemon away at GC", good, []string{"CNI_COMMAND=GC"}, away, 11, "away"},
		{"daemon away at CHECK", conf("1.1.0", check), with("CHECK"), away, 11, "away"},
		{"daemon away at STATUS", good, []string{"CNI_COMMAND=STATUS"}, away, 50, "away"},
		{"no network", good, with("ADD"), model.Errorf(model.NotFound, "network web not found"), 102, "docker network create web"},
		{"no network at STATUS", good, []string{"CNI_COMMAND=STATUS"}, model.Errorf(model.NotFound, "network web not found"), 50, "web"},
		{"nothing at the path", good, with("ADD"), model.Errorf(model.NotFound, "there is no network namespace at /run/netns/blue"), 3, "CNI_NETNS"},
		{"twice", good, with("ADD"), model.Errorf(model.Forbidden, "endpoint with name c1 already exists in network web"), 101, "already exists"},
		{"unknown to CHECK", conf("1.1.0", check), with("CHECK"), model.Errorf(model.NotFound, "no such"), 3, ""},
		{"lost", conf("1.1.0", check), with("CHECK"), model.Errorf(model.Conflict, "interface eth0 is missing"), 101, "missing"},
		{"something else", good, with("ADD"), model.Errorf(model.Internal, "first\nsecond"), 100, "second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &fakeDaemon{fail: c.daemon}
			status, out := call(d, c.stdin, c.env...)
			r := parse(t, out)
			if status != 1 || r.Code != c.code || !strings.Contains(r.Msg+" "+r.Details, c.text) || r.Msg == "" || r.CNIVersion == "" {
				t.Errorf("status %d, %s; want code %d and %q", status, out, c.code, c.text)
			}
			if c.daemon == nil && len(d.asked) > 0 {
				t.Errorf("the daemon was asked: %q", d.asked)
			}
		})
	}
}

func TestDelIsForgiving(t *testing.T) {
	d := &fakeDaemon{}
	for _, stdin := range []string{conf("0.3.1", ""), conf("1.1.0", `, "prevResult": 7`), conf("1.0.0", `, "prevResult": {}`)} {
		if status, out := call(d, stdin, "CNI_COMMAND=DEL", "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0"); status != 0 || out != "" {
			t.Errorf("%s: status %d, %q", stdin, status, out)
		}
	}
	if want := "detach config=web&container=c1&door=cni&interface=eth0"; d.asked[0] != want {
		t.Errorf("asked %q", d.asked)
	}
}

func TestVersion(t *testing.T) {
	for stdin, want := range map[string]string{`{"cniVersion": "0.4.0"}`: "0.4.0", "": "1.1.0", "{": "1.1.0", `{"cniVersion": "7.0"}`: "7.0"} {
		status, out := call(&fakeDaemon{}, stdin, "CNI_COMMAND=VERSION")
		var r struct {
			CNIVersion        string
			SupportedVersions []string
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil || status != 0 || r.CNIVersion != want || len(r.SupportedVersions) != len(versions) {
			t.Errorf("%q: %d, %s, %v", stdin, status, out, err)
		}
	}
	if status, out := call(&fakeDaemon{}, ""); status != 0 || out != "" {
		t.Errorf("without a command: %d, %q", status, out)
	}
}

// FuzzStdin: whatever comes, the answer is nothing or one JSON document, and its status
// fits it.
func FuzzStdin(f *testing.F) {
	for _, command := range []string{"ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"} {
		f.Add(command, "A=B;C", conf("1.1.0", `, "runtimeConfig": {"ips": ["10.9.0.5"], "aliases": {"web": ["a"]}, "portMappings": [{"hostPort": 1, "containerPort": 2}]}`))
		f.Add(command, "", conf("0.4.0", `, "prevResult": {"cniVersion": "0.4.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/blue"}, null], "ips": [{"interface": 9}, null]}`))
	}
	f.Fuzz(func(t *testing.T, command, args, stdin string) {
		status, out := call(&fakeDaemon{}, stdin, with(command, "CNI_ARGS="+args)...)
		if command == "" {
			return
		}
		var r result
		if out == "" {
			if status != 0 {
				t.Fatal("an error without words")
			}
			return
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil && !json.Valid([]byte(out)) {
			t.Fatalf("%v: %s", err, out)
		}
		if (r.Code != 0) != (status != 0) && command != "VERSION" {
			t.Fatalf("status %d, %s", status, out)
		}
	})
}
