package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/conformance/cni"
)

const (
	// conformanceVariable set to "reference" plays the suite against the reference plugins as well, and prints reports.
	conformanceVariable = "LINKSPAN_CONFORMANCE"
	conformanceTime     = 5 * time.Minute
	cniSuite            = "../conformance/cni"
)

// TestCNIConformance plays the conformance suite of CNI against linkspan-cni, which must hold all of it, and against
// plugins that lie in one way each, which the suite must see.
func TestCNIConformance(t *testing.T) {
	engine := needEngine(t)
	h := New(t, Options{Engine: engine}).Host(1)
	ctx, cancel := context.WithTimeout(t.Context(), conformanceTime)
	defer cancel()
	c := &conformance{t: t, h: h, dir: t.TempDir()}
	c.do(h.Start(ctx))
	for i, name := range []string{"conform", "conform-other"} {
		c.docker(ctx, "network", "create", "--subnet", fmt.Sprintf("10.77.%d.0/28", i), name)
	}
	c.build(ctx, cniSuite, "./cni-conformance")

	plugin := map[string]json.RawMessage{"type": json.RawMessage(`"linkspan-cni"`)}
	nowhere := maps.Clone(plugin)
	nowhere["network"] = json.RawMessage(`"nowhere"`)
	ours := cni.Plugin{Name: "linkspan-cni", Binary: filepath.Join(filepath.Dir(engine), "linkspan-cni"), Config: plugin, Other: plugin, Unready: nowhere}
	t.Run("Ours", func(t *testing.T) {
		report, err := c.play(ctx, ours, "-all")
		if err != nil {
			t.Errorf("%v\n%s", err, report)
		}
		if held := heldOf(report); held < 100 {
			t.Errorf("%d results hold:\n%s", held, report)
		}
		if os.Getenv(conformanceVariable) != "" {
			t.Log("\n" + report)
		}
	})
	t.Run("Liars", func(t *testing.T) { c.of(t).liars(ctx, ours) })
	if os.Getenv(conformanceVariable) == "reference" {
		t.Run("Reference", func(t *testing.T) { c.of(t).reference(ctx) })
	}
	for _, name := range []string{"conform", "conform-other"} {
		c.docker(ctx, "network", "rm", name)
	}
	c.do(Until(ctx, cleanTime, func() error { return h.CheckClean(ctx) }))
}

// conformance is a host on which plugins are checked.
type conformance struct {
	t   *testing.T
	h   *Host
	dir string
}

// of is c for a part of the test.
func (c *conformance) of(t *testing.T) *conformance { return &conformance{t, c.h, c.dir} }

func (c *conformance) do(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *conformance) docker(ctx context.Context, args ...string) {
	c.t.Helper()
	_, err := c.h.Docker(ctx, args...)
	c.do(err)
}

// build builds programs of a module in folder.
func (c *conformance) build(ctx context.Context, folder string, packages ...string) {
	c.t.Helper()
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-buildvcs=false", "-trimpath", "-o", c.dir + "/"}, packages...)...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("build %v: %v\n%s", packages, err, out)
	}
}

// play plays the suite against a plugin on the host and returns the report.
func (c *conformance) play(ctx context.Context, p cni.Plugin, flags ...string) (report string, err error) {
	raw, err := json.Marshal(p)
	c.do(err)
	file := filepath.Join(c.dir, p.Name+".json")
	c.do(os.WriteFile(file, raw, 0o600))
	out, err := c.h.Command(ctx, slices.Concat([]string{filepath.Join(c.dir, "cni-conformance")}, flags, []string{file})...).CombinedOutput()
	return string(out), err
}

// heldOf reads a report's count of what holds.
func heldOf(report string) (held int) {
	if m := regexp.MustCompile(`(\d+) held`).FindStringSubmatch(report); m != nil {
		held, _ = strconv.Atoi(m[1]) // as far as the number is one
	}
	return held
}

// liars are ways to break the specification: what to do with the call, and the case that must see it. $1 is the true
// plugin.
var liars = []struct{ name, script, seen string }{
	{"version", `case $CNI_COMMAND in ADD) "$1" | sed s/1.1.0/1.0.0/; exit;; esac; exec "$1"`, "result/version"},
	{"echo", `"$1" | sed 's/"cniVersion": "99.0.0"/"cniVersion": "1.0.0"/'`, "version/echo-of-the-unknown"},
	{"talks", `case $CNI_COMMAND in DEL) echo hello;; esac; exec "$1"`, "del/twice"},
	{"mac", `"$1" | sed 's/"mac": "../"mac": "0e/'`, "result/interfaces"},
	{"sandbox", `"$1" | sed 's,"sandbox": "/run/netns/,"sandbox": "/run/other/,'`, "result/interfaces"},
	{"address", `"$1" | sed 's,"address": "10.77.0.,"address": "10.77.9.,'`, "result/addresses"},
	{"route", `"$1" | sed 's,"dst": "0.0.0.0/0","dst": "9.9.9.0/24",'`, "result/routes"},
	{"forgets", `sed 's/"prevResult":/"formerResult":/' | "$1"`, "add/prev-result"},
	{"status zero", `"$1" || exit 0`, "add/interface-exists"},
	{"mute", `case $CNI_COMMAND in ADD) exec "$1" >/dev/null;; esac; exec "$1"`, "result/version"},
	{"keeps", `case $CNI_COMMAND in DEL) exit 0;; esac; exec "$1"`, "del/interface"},
	{"once", `case $CNI_COMMAND$CNI_CONTAINERID in DELc1) ip -n "${CNI_NETNS##*/}" link show "$CNI_IFNAME" >/dev/null || exit 1;; esac; exec "$1"`, "del/twice"},
	{"needs a namespace", `case $CNI_COMMAND in DEL) test -e "$CNI_NETNS" || exit 1;; esac; exec "$1"`, "del/namespace-missing"},
	{"content", `case $CNI_COMMAND in CHECK) exit 0;; esac; exec "$1"`, "check/address-lost"},
	{"never ready", `case $CNI_COMMAND in STATUS) echo '{"code": 50, "msg": "no"}'; exit 1;; esac; exec "$1"`, "status/ready"},
	{"always ready", `case $CNI_COMMAND in STATUS) exit 0;; esac; exec "$1"`, "status/unready"},
	{"collects all", `case $CNI_COMMAND in GC) sed 's/"containerID":"c1"/"containerID":"x"/' | "$1"; exit;; esac; exec "$1"`, "gc/in-use-stays"},
	{"any name", `case $CNI_CONTAINERID in -*) CNI_CONTAINERID=x$CNI_CONTAINERID;; esac; exec "$1"`, "parameters/container-id-hyphen-first"},
	{"names nobody", `"$1" | sed s/CNI_IFNAME/it/`, "parameters/add-without-CNI_IFNAME"},
}

func (c *conformance) liars(ctx context.Context, honest cni.Plugin) {
	cases := cni.Cases()
	for i, l := range liars {
		if !slices.ContainsFunc(cases, func(one cni.Case) bool { return one.Name == l.seen }) {
			c.t.Errorf("%s: there is no case %s", l.name, l.seen)
			continue
		}
		script := filepath.Join(c.dir, fmt.Sprintf("liar%d", i))
		text := fmt.Sprintf("#!/bin/bash\nset -o pipefail\nset -- %q\n%s\n", honest.Binary, l.script)
		c.do(os.WriteFile(script, []byte(text), 0o700))
		p := honest
		p.Name, p.Binary = strings.ReplaceAll(l.name, " ", "-"), script
		report, err := c.play(ctx, p, "-strict", "-only", l.seen)
		if err == nil || !strings.Contains(report, l.seen) {
			c.t.Errorf("a plugin that lies (%s) passes %s: %v\n%s", l.name, l.seen, err, report)
		}
	}
}

// reference plays the suite against the reference plugins: what they break is printed, not judged, but each must be
// played.
func (c *conformance) reference(ctx context.Context) {
	const module = "github.com/containernetworking/plugins/plugins/"
	c.build(ctx, cniSuite+"/reference", module+"main/bridge", module+"main/macvlan", module+"main/ptp", module+"ipam/host-local")
	_, err := c.h.Run(ctx, "ip", "link", "add", "parent0", "type", "veth", "peer", "name", "parent1")
	c.do(err)
	defer func() { _, err := c.h.Run(ctx, "ip", "link", "delete", "parent0"); c.do(err) }()
	conf := func(name string, subnet int, more string) (out map[string]json.RawMessage) {
		text := fmt.Sprintf(`{"type": %q, "ipam": {"type": "host-local", "subnet": "10.78.%d.0/28", "dataDir": %q, "routes": [{"dst": "198.18.0.0/15"}]}%s}`, name, subnet, c.dir+"/data", more)
		c.do(json.Unmarshal([]byte(text), &out))
		return out
	}
	for _, p := range []cni.Plugin{
		{Name: "bridge", Config: conf("bridge", 0, `, "bridge": "conf0", "isGateway": true`), Other: conf("bridge", 1, `, "bridge": "conf1", "isGateway": true`)},
		{Name: "ptp", Config: conf("ptp", 2, ""), Other: conf("ptp", 3, "")},
		{Name: "macvlan", Config: conf("macvlan", 4, `, "master": "parent0"`), Other: conf("macvlan", 5, `, "master": "parent0"`)},
		{Name: "host-local", Config: conf("host-local", 6, ""), IPAM: true},
	} {
		p.Binary, p.Path = filepath.Join(c.dir, p.Name), []string{c.dir}
		report, err := c.play(ctx, p)
		c.t.Logf("%v\n%s", err, report)
		if held := heldOf(report); held < 75 {
			c.t.Errorf("%s: %d results hold: the suite asks too much, or the plugin is not set up well", p.Name, held)
		}
	}
	for _, bridge := range []string{"conf0", "conf1"} {
		_, err := c.h.Run(ctx, "ip", "link", "delete", bridge)
		c.do(err)
	}
}
