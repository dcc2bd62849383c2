package ops_test

import (
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

func TestCheckNames(t *testing.T) {
	many := func(n, length int) []string {
		var out []string
		for range n {
			out = append(out, strings.Repeat("a", length))
		}
		return out
	}
	for _, c := range []struct {
		aliases []string
		links   []model.Link
		want    string
	}{
		{nil, nil, ""},
		{[]string{"db", "Ünïcode", "with space", "a.b.c", "_srv._tcp", strings.Repeat("l", 64), strings.Repeat("l", 255)}, nil, ""},
		{[]string{""}, nil, "it is empty"},
		{[]string{"a\nb"}, nil, `invalid alias "a\nb": it has control characters`},
		{[]string{"a\x00b"}, nil, "control characters"},
		{[]string{"a\x1b[2J"}, nil, "control characters"},
		{[]string{strings.Repeat("l", 256)}, nil, "it has 256 bytes, at most 255 are allowed"},
		{nil, []model.Link{{Target: "web", Alias: "w"}}, ""},
		{nil, []model.Link{{Target: "web", Alias: "w\n"}}, "control characters"},
		{nil, []model.Link{{Target: "web\n", Alias: "w"}}, "control characters"},
		{nil, []model.Link{{Target: "", Alias: "w"}}, "it is empty"},
		{many(16384, 10), nil, ""},
		{many(16385, 1), nil, "too many aliases: 16385 with 16385 bytes"},
		{many(10000, 190), nil, "too many aliases: 10000 with 1900000 bytes"},
	} {
		got := ops.CheckNames(c.aliases, c.links)
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0].Error(), c.want)) {
			t.Errorf("%.40q, %v: %v, want %q", c.aliases, c.links, got, c.want)
		}
	}
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), create("one"))
	spec := on("one", "web")
	spec.Aliases = []string{"a\nb"}
	w.refuses(model.Invalid, "control characters", ops.Connect(box("one"), spec))
}

// TestMACOfANeighbour: an address of the link layer that somebody has now, or the
// bridge, is not given to another one, be it asked for or computed.
func TestMACOfANeighbour(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), network("other", "10.0.1.0/24"), create("first", "web"), ops.StartSandbox(box("first")))
	mac := func(name string) string {
		for e := range w.now.EndpointsOf(box(name)) {
			return e.MAC
		}
		return ""
	}
	with := func(name, network, mac string) ops.Op {
		spec := on(name, network)
		spec.MAC = mac
		return ops.CreateSandbox(model.Sandbox{ID: box(name), Container: model.ContainerID(digits("c", name)), Name: name, Mode: model.SandboxOwn}, []ops.EndpointSpec{spec})
	}
	web, _ := w.now.FindNetwork("web")
	w.must(with("thief", "web", mac("first")), with("far", "other", mac("first")), with("bridge", "web", driver.BridgeMAC(web.ID)))
	w.refuses(model.Conflict, "MAC address "+mac("first")+" is already in use\n"+mac("first")+" is held by container first (", ops.StartSandbox(box("thief")))
	w.refuses(model.Conflict, "is held by the bridge of network web", ops.StartSandbox(box("bridge")))
	w.must(ops.StartSandbox(box("far"))) // another network, other neighbours

	w.must(create("joiner"), ops.StartSandbox(box("joiner")))
	spec := on("joiner", "web")
	spec.MAC = mac("first")
	w.refuses(model.Conflict, "is already in use", ops.Connect(box("joiner"), spec))

	// While the first is down its address is to be had, and it gets another one then.
	before := mac("first")
	w.must(ops.StopSandbox(box("first")), ops.StartSandbox(box("thief")), ops.StartSandbox(box("first")))
	if mac("thief") != before || mac("first") == before || mac("first") == "" {
		t.Errorf("first %s, thief %s, before %s", mac("first"), mac("thief"), before)
	}
	w.must(ops.StopSandbox(box("thief")), ops.StopSandbox(box("first")), ops.StartSandbox(box("first")))
	if mac("first") != before {
		t.Errorf("first %s, and nobody has %s", mac("first"), before)
	}
}

func TestInterfaceNameTwice(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), network("other", "10.0.1.0/24"), create("one", "web"), ops.StartSandbox(box("one")))
	spec := on("one", "other")
	spec.DriverOpts = map[string]string{driver.OptionInterface: "eth0"}
	w.refuses(model.Unfit, "error renaming interface", ops.Connect(box("one"), spec))
	w.refuses(model.Unfit, "file exists", ops.Connect(box("one"), spec))
}
