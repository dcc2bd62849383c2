// Package linkspan_test holds the house together: who may import whom, how big
// things may grow, and that every package says what it promises.
package linkspan_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/linkspan/linkspan/"

// layers is the import table: what packages of a folder may import of ours. An
// entry stands for the folder and all below it; the longest match counts. The
// test reads the sources itself, so that a cached pass cannot hide a violation.
var layers = map[string][]string{
	// words: data, no behaviour
	"internal/model":      {},
	"internal/facts":      {"internal/model"},
	"internal/desired":    {"internal/model"},
	"internal/resolvconf": {},
	"internal/evidence":   {"internal/model"},
	"internal/state":      {"internal/model", "internal/facts"},

	// thought: pure
	"internal/ipam":          {words},
	"internal/ports":         {words},
	"internal/balance":       {},
	"internal/names":         {words},
	"internal/gateway":       {words},
	"internal/diagnose":      {words},
	"internal/firewall":      {words},
	"internal/driver":        {words, "internal/firewall"},
	"internal/driver/all":    {"internal/driver"},
	"internal/ops":           {words, "internal/ipam", "internal/ports", "internal/gateway", "internal/driver"},
	"internal/plan":          {words, "internal/driver", "internal/firewall", "internal/gateway", "internal/names"},
	"internal/plan/plantest": {words, thought}, // for tests
	"internal/packetfilter":  {words},
	"internal/query":         {"internal/model"},
	"internal/containerview": {words, "internal/containerrecord", "internal/containerspec", "internal/driver", "internal/gateway", "internal/query"},
	"internal/lifecycle":     {"internal/model"},
	"internal/containerspec": {words, "internal/logoptions", "internal/ociruntimes", "internal/names", "internal/ops", "internal/ports"},

	"internal/containerrecord": {words, "internal/names", "internal/containerspec"},

	// what the options of log drivers mean: for all that keep logs
	"internal/logoptions": {"internal/model"},

	// which OCI runtimes there are
	"internal/ociruntimes": {"internal/model"},

	// what is taken out of what leaves the host
	"internal/redact": {},

	// traces for a collector of OpenTelemetry's
	"internal/tracing": {"internal/model"},

	// what the daemon logged last
	"internal/recentlog": {},

	// the format in which captured packets are written: for doors
	"internal/pcapng": {},

	// what a process has little of: for all that act
	"internal/limits": {},

	// for hands that copy what containers wrote
	"internal/foldercopy": {},

	// programs that outlive the daemon: for those that start them
	"internal/process": {},

	// hands: each does one kind of effect and knows only words
	"internal/kernel":             {words, "internal/limits", "internal/balance", "internal/kernel"},
	"internal/store":              {words, "internal/store"},
	"internal/resolver":           {words, "internal/limits", "internal/resolver"},
	"internal/resolver/message":   {},
	"internal/resolver/upstream":  {"internal/resolvconf", "internal/limits", "internal/resolver/message"},
	"internal/runtime":            {words, "internal/process", "internal/foldercopy", "internal/runtime"},
	"internal/runtime/containerd": {"internal/model", "internal/process"},
	"internal/runtime/ocispec":    {"internal/model"},
	"internal/runtime/imagestore": {"internal/model", "internal/runtime/containerd", "internal/runtime/ocispec", "internal/runtime/registry"},
	"internal/runtime/registry":   {"internal/model"},
	"internal/runtime/files":      {"internal/model", "internal/runtime/containerd", "internal/runtime/ocispec"},
	"internal/runtime/snapshots":  {"internal/model", "internal/foldercopy", "internal/runtime/containerd", "internal/runtime/imagestore"},
	"internal/output":             {words, "internal/limits", "internal/logoptions", "internal/output"},
	"internal/portsocket":         {words, "internal/limits", "internal/portsocket", "internal/hostports/bindguard"},
	"internal/hostports":          {words, "internal/limits", "internal/portsocket", "internal/hostports"},
	"internal/firewalld":          {words},
	"internal/dhcp":               {words},
	"internal/wireguard":          {words, "internal/wireguard"},
	"internal/wireguard/key":      {},
	"internal/plugins":            {words, "internal/plugins"},
	"internal/userproxy":          {words, "internal/limits", "internal/portsocket", "internal/userproxy"},
	"internal/localvolume":        {words, "internal/foldercopy"},
	"internal/taskfiles":          {words},

	// for all hubs: what they say to whoever listens, and the IDs they draw
	"internal/events": {"internal/model"},
	"internal/ids":    {"internal/model"},

	// image builds: a program of its own, what it is told, and who runs it
	"internal/buildkitd":      {"internal/model", "internal/privateapi", "internal/runtime/registry", "internal/buildkitd/wire"},
	"internal/buildkitd/wire": {},
	"internal/builder":        {"internal/model", "internal/process", "internal/buildkitd/wire"},

	// hub
	"internal/engine":     {words, thought, "internal/limits"},
	"internal/containers": {words, thought, "internal/containers", "internal/events", "internal/ids", "internal/engine"},
	"internal/networks":   {words, thought, "internal/events", "internal/ids"},
	"internal/images":     {words, thought, "internal/events"},
	"internal/volumes":    {words, thought, "internal/events", "internal/ids"},
	"internal/inspect":    {words, thought},
	"internal/leases":     {words, thought, "internal/events"},
	"internal/guests":     {words, thought, "internal/events", "internal/ids"},
	"internal/remotes":    {words, "internal/cluster/stream"},
	"internal/ingress":    {words, thought},
	"internal/keeper":     {words, "internal/limits", "internal/process", "internal/keeper/wire"},

	// many hosts: the types of swarmkit stay in cluster and tasks
	"internal/cluster":           {words, "internal/limits", "internal/cluster"},
	"internal/cluster/allocator": {words, "internal/ipam"},
	"internal/swarm":             {words, thought, "internal/events", "internal/ids", "internal/cluster"},
	"internal/tasks":             {words, thought, "internal/events", "internal/ids", "internal/cluster", "internal/containers", "internal/images"},

	// doors
	"internal/config":    {"internal/model", "internal/logoptions", "internal/ociruntimes"},
	"internal/dockerapi": {words, "internal/dockerapi", "internal/cluster/services", "internal/limits", "internal/events", hub, "internal/driver", "internal/query", "internal/logoptions", "internal/ociruntimes", "internal/containerview", "internal/privateapi", "internal/pcapng", "internal/redact", "internal/buildkitd/wire"},
	"internal/cli":       {words, "internal/privateapi", "internal/diagnose", "internal/web"},
	"internal/web":       {words, "internal/privateapi", "internal/diagnose"},
	"internal/cni":       {words, "internal/privateapi"},

	// what doors of ours say to one another over the private socket
	"internal/privateapi": {"internal/model"},

	// cmd wires; lab and demo are outside and use the doors
	"cmd":         {"internal"},
	"build":       {"internal"},
	"lab":         {"lab", "conformance"},
	"conformance": {"conformance"},
	"demo":        {"lab"},
	"bench":       {"lab"},
}

// Groups of folders in the table.
const (
	words   = "words"
	thought = "thought"
	hub     = "hub"
)

var groups = map[string][]string{
	words:   {"internal/resolvconf", "internal/evidence", "internal/model", "internal/facts", "internal/desired", "internal/state"},
	thought: {"internal/ipam", "internal/ports", "internal/balance", "internal/names", "internal/gateway", "internal/diagnose", "internal/firewall", "internal/driver", "internal/ops", "internal/plan", "internal/packetfilter", "internal/query", "internal/logoptions", "internal/ociruntimes", "internal/containerspec", "internal/lifecycle", "internal/containerrecord", "internal/containerview"},
	hub:     {"internal/engine", "internal/containers", "internal/networks", "internal/images", "internal/volumes", "internal/inspect", "internal/leases", "internal/guests", "internal/keeper", "internal/remotes", "internal/ingress", "internal/swarm", "internal/tasks"},
}

// pure are packages that pure code must not import: effects, clocks, chance.
var pure = []string{"os", "os/exec", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "sync", "sync/atomic", "syscall", "log/slog"}

// Ratchets: may shrink, never grow.
const (
	maxFunction  = 70
	maxFile      = 500
	maxDriver    = 400
	maxInterface = 8 // where one implementer serves one caller; who needs less declares less
	maxEngine    = 10
)

// source is one parsed file that is not a test.
type source struct {
	path, folder string
	file         *ast.File
	lines        int
	set          *token.FileSet
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, source{path, filepath.ToSlash(filepath.Dir(path)), f, set.File(f.Pos()).LineCount(), set})
		return nil
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("read the sources: %d files, %v", len(out), err)
	}
	return out
}

// layerOf returns the entry of the table that a folder falls under.
func layerOf(folder string) (string, bool) {
	for at := folder; at != "."; at = filepath.ToSlash(filepath.Dir(at)) {
		if _, ok := layers[at]; ok {
			return at, true
		}
	}
	return "", false
}

// within tells whether a folder is another or below it.
func within(folder, other string) bool {
	return folder == other || strings.HasPrefix(folder, other+"/")
}

func allowed(layer, folder, imported string) bool {
	if imported == layer || within(imported, folder) {
		return true
	}
	for _, entry := range layers[layer] {
		if slices.ContainsFunc(append(groups[entry], entry), func(may string) bool { return within(imported, may) }) {
			return true
		}
	}
	return false
}

func TestImportsRunDown(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		layer, known := layerOf(s.folder)
		if !known {
			t.Errorf("%s: folder %s is not in the import table: add it where it belongs", s.path, s.folder)
			continue
		}
		seen[layer] = true
		for _, i := range s.file.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			ours, isOurs := strings.CutPrefix(path, module)
			if isOurs && !allowed(layer, s.folder, ours) {
				t.Errorf("%s imports %s, which %s may not", s.path, ours, layer)
			}
			if slices.Contains(append(groups[words], groups[thought]...), layer) && slices.Contains(pure, path) {
				t.Errorf("%s imports %s: words and thought are pure", s.path, path)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d layers were seen: the test looks in the wrong place", len(seen))
	}
}

// TestPureCodeHasNoClock: what is pure takes times as arguments.
func TestPureCodeHasNoClock(t *testing.T) {
	for _, s := range sources(t) {
		layer, _ := layerOf(s.folder)
		if !slices.Contains(append(groups[words], groups[thought]...), layer) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Now" {
				if id, ok := sel.X.(*ast.Ident); ok && id.Name == "time" {
					t.Errorf("%s calls time.Now", s.set.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// oneDoor maps packages to the only folders that may import them.
var oneDoor = map[string][]string{
	"github.com/vishvananda/netlink":        {"internal/kernel", "lab"},
	"github.com/mdlayher/netlink":           {"internal/kernel"},
	"github.com/google/nftables":            {"internal/kernel/nft", "internal/kernel/hostfilter", "internal/kernel/iptables"},
	"github.com/containerd/containerd":      {"internal/runtime", "internal/buildkitd"},
	"go.opentelemetry.io":                   {"internal/tracing"},
	"github.com/moby/buildkit":              {"internal/buildkitd", "lab"},
	"os/exec":                               {"internal/process", "internal/builder", "internal/runtime", "internal/kernel/xtables", "internal/kernel/firewalltest", "internal/keeper", "internal/portsocket/porttest", "lab", "demo", "conformance"},
	"golang.org/x/sys/unix":                 {"internal/kernel", "internal/store", "internal/resolver", "internal/process", "internal/runtime", "internal/output", "internal/portsocket", "internal/hostports", "internal/userproxy", "internal/dhcp", "internal/localvolume", "internal/foldercopy", "internal/taskfiles", "internal/buildkitd", "lab"},
	"go.etcd.io/bbolt":                      {"internal/store", "internal/localvolume", "internal/buildkitd"},
	"github.com/godbus/dbus":                {"internal/firewalld"},
	"golang.zx2c4.com/wireguard":            {"internal/wireguard"},
	"github.com/miekg/dns":                  {"internal/resolver", "lab"},
	"github.com/docker/cli":                 {"internal/cli"},
	"github.com/moby/moby/api":              {"internal/cli", "internal/events", "internal/networks", "internal/images", "internal/volumes", "internal/inspect", "internal/containerspec", "internal/containerrecord", "internal/containerview", "internal/containers", "internal/dockerapi", "internal/cluster", "internal/swarm", "internal/tasks"},
	"github.com/moby/swarmkit":              {"internal/cluster", "internal/tasks", "cmd"},
	"github.com/prometheus/client_golang":   {"internal/dockerapi", "cmd"},
	"github.com/hashicorp/go-immutable-rad": {"internal/facts", "internal/desired", "internal/state", "internal/resolver"},
}

func TestOneDoor(t *testing.T) {
	for _, s := range sources(t) {
		for _, i := range s.file.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			for prefix, folders := range oneDoor {
				if !strings.HasPrefix(path, prefix) {
					continue
				}
				if !slices.ContainsFunc(folders, func(f string) bool { return within(s.folder, f) }) {
					t.Errorf("%s imports %s: only %v may", s.path, path, folders)
				}
			}
		}
	}
}

// TestDriversSpeakForThemselves: what depends on the kind of a network is a trait or
// an answer of its driver. Outside internal/driver nobody knows one of them by name,
// save those who make the networks that are always there.
func TestDriversSpeakForThemselves(t *testing.T) {
	const drivers = "internal/driver"
	predefining := []string{"internal/ops/predefined.go", "internal/networks/predefine.go", "internal/networks/default_bridge.go"}
	all, names := sources(t), map[string]bool{}
	for _, s := range all {
		if name, below := strings.CutPrefix(s.folder, drivers+"/"); below && name != "all" {
			names[name] = true
		}
	}
	for _, s := range all {
		if within(s.folder, drivers) || !within(s.folder, "internal") || slices.Contains(predefining, s.path) {
			continue
		}
		for _, i := range s.file.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			if strings.HasPrefix(path, module+drivers+"/") {
				t.Errorf("%s imports %s: ask for a trait or an answer of the driver", s.path, path)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if strings.Contains(n.Value, "com.docker.network.bridge.") {
					t.Errorf("%s: %s is read by its driver only", s.set.Position(n.Pos()), n.Value)
				}
			case *ast.BinaryExpr:
				if isDriver(n.X) && names[literal(n.Y)] || isDriver(n.Y) && names[literal(n.X)] {
					t.Errorf("%s: a driver is asked for by name", s.set.Position(n.Pos()))
				}
			}
			return true
		})
	}
	if len(names) < 3 {
		t.Errorf("only %d drivers were seen: the test looks in the wrong place", len(names))
	}
}

// isDriver tells whether an expression is the driver of a network, not of its IPAM.
func isDriver(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Driver" {
		return false
	}
	of, nested := sel.X.(*ast.SelectorExpr)
	return !nested || of.Sel.Name != "IPAM"
}

// literal returns the value of a string that is written out; empty for what is none.
func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	value, _ := strconv.Unquote(lit.Value)
	return value
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		limit := maxFile
		if strings.HasPrefix(s.folder, "internal/driver/") {
			limit = maxDriver
		}
		if s.lines > limit {
			t.Errorf("%s has %d lines, at most %d are allowed", s.path, s.lines, limit)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if lines := s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1; lines > maxFunction {
					t.Errorf("%s: %s has %d lines, at most %d are allowed", s.path, n.Name.Name, lines, maxFunction)
				}
				if p := n.Type.Params.NumFields(); p > 5 {
					t.Errorf("%s: %s has %d parameters, at most 5 are allowed", s.path, n.Name.Name, p)
				}
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: init() is not used in this house", s.path)
				}
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxInterface {
					t.Errorf("%s: interface %s has %d methods, at most %d are allowed", s.path, n.Name.Name, i.Methods.NumFields(), maxInterface)
				}
			}
			return true
		})
	}
}

func TestEngineStaysNarrow(t *testing.T) {
	count := 0
	for _, s := range sources(t) {
		if s.folder != "internal/engine" {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.IsExported() && receiver(f) == "Engine" {
				count++
			}
		}
	}
	if count == 0 || count > maxEngine {
		t.Errorf("engine.Engine has %d methods, between 1 and %d are allowed", count, maxEngine)
	}
}

func receiver(f *ast.FuncDecl) string {
	switch t := f.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		if id, ok := t.X.(*ast.Ident); ok {
			return id.Name
		}
	case *ast.Ident:
		return t.Name
	}
	return ""
}

func TestEveryPackageSaysWhatItPromises(t *testing.T) {
	docs := map[string]int{}
	for _, s := range sources(t) {
		docs[s.folder] += 0
		if s.file.Doc != nil && strings.HasPrefix(s.file.Doc.Text(), "Package ") || s.file.Doc != nil && s.file.Name.Name == "main" {
			docs[s.folder]++
		}
	}
	for folder, n := range docs {
		if n != 1 {
			t.Errorf("%s has %d package comments, want one", folder, n)
		}
	}
}

// TestNoLooseMaps: untyped maps stay at the door.
func TestNoLooseMaps(t *testing.T) {
	for _, s := range sources(t) {
		if within(s.folder, "internal/dockerapi") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			m, ok := n.(*ast.MapType)
			if !ok {
				return true
			}
			if value, ok := m.Value.(*ast.Ident); ok && value.Name == "any" {
				t.Errorf("%s: map[…]any at %s: give it a type", s.path, s.set.Position(m.Pos()))
			}
			return true
		})
	}
}
