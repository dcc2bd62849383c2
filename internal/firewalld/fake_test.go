package firewalld

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

// bus starts a message bus of the test's own, and returns its address.
func bus(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	address := "unix:path=" + filepath.Join(dir, "socket")
	text := `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>` + address + `</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config-file="+config, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the bus did not start: %v", err)
	}
	return address
}

// fake is a firewalld: what is permanent, what is in effect, and who asked for what.
type fake struct {
	conn *dbus.Conn
	old  bool // without policies and addZone2
	slow chan struct{}

	mu                 sync.Mutex
	permanent, zones   map[string][]string // interfaces by zone
	policies, inEffect []string
	targets            map[string]string
	calls              []string
	refuse             map[string]string // errors by method
	reloads            int
}

// startFake brings a firewalld on the bus that has the zone public.
func startFake(t *testing.T, address string, change func(*fake)) *fake {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		conn: conn, permanent: map[string][]string{"public": nil}, zones: map[string][]string{"public": nil},
		targets: map[string]string{}, refuse: map[string]string{},
	}
	if change != nil {
		change(f)
	}
	f.export(t)
	if reply, err := conn.RequestName(service, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("own the name: %v, %v", reply, err)
	}
	t.Cleanup(func() { conn.Close() })
	return f
}

func (f *fake) export(t *testing.T) {
	t.Helper()
	tables := map[string]map[string]any{
		service:             {"reload": f.reload},
		service + ".zone":   {"getZones": f.getZones, "getInterfaces": f.getInterfaces, "addInterface": f.addInterface, "removeInterface": f.removeInterface},
		service + ".config": {"addZone": f.addZone, "addZone2": f.addZone2, "addPolicy": f.addPolicy},
		service + ".policy": {"getPolicies": f.getPolicies},
	}
	if f.old {
		delete(tables, service+".policy")
		delete(tables[service+".config"], "addZone2")
		delete(tables[service+".config"], "addPolicy")
	} else {
		delete(tables[service+".config"], "addZone")
	}
	for iface, methods := range tables {
		path := objectPath
		if iface == service+".config" {
			path = configPath
		}
		if err := f.conn.ExportMethodTable(methods, path, iface); err != nil {
			t.Fatal(err)
		}
	}
}

// called notes a call, and waits where firewalld is slow.
func (f *fake) called(method string, args ...string) *dbus.Error {
	if f.slow != nil {
		<-f.slow
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, strings.Join(append([]string{method}, args...), " "))
	if text, bad := f.refuse[method]; bad {
		return exception(text)
	}
	return nil
}

func exception(text string) *dbus.Error {
	return dbus.NewError(service+".Exception", []any{text})
}

func (f *fake) reload() *dbus.Error {
	if err := f.called("reload"); err != nil {
		return err
	}
	f.mu.Lock()
	f.zones = map[string][]string{}
	for name, interfaces := range f.permanent {
		f.zones[name] = slices.Clone(interfaces)
	}
	f.inEffect = slices.Clone(f.policies)
	f.reloads++
	f.mu.Unlock()
	_ = f.conn.Emit(objectPath, service+".Reloaded")
	return nil
}

func (f *fake) getZones() ([]string, *dbus.Error) {
	if err := f.called("getZones"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for name := range f.zones {
		out = append(out, name)
	}
	return out, nil
}

func (f *fake) getPolicies() ([]string, *dbus.Error) {
	err := f.called("getPolicies")
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inEffect, err
}

func (f *fake) getInterfaces(zone string) ([]string, *dbus.Error) {
	if err := f.called("getInterfaces", zone); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.zones[zone]; !there {
		return nil, exception("INVALID_ZONE: " + zone)
	}
	return f.zones[zone], nil
}

func (f *fake) addInterface(zone, name string) (string, *dbus.Error) {
	if err := f.called("addInterface", zone, name); err != nil {
		return "", err
	}
	return zone, f.bind(zone, name)
}

func (f *fake) bind(zone, name string) *dbus.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for other, interfaces := range f.zones {
		if slices.Contains(interfaces, name) && other != zone {
			return exception(fmt.Sprintf("ZONE_CONFLICT: '%s' already bound to a zone", name))
		}
		if slices.Contains(interfaces, name) {
			return exception("ZONE_ALREADY_SET: '" + name + "' already bound to '" + zone + "'")
		}
	}
	f.zones[zone] = append(f.zones[zone], name)
	return nil
}

func (f *fake) removeInterface(zone, name string) (string, *dbus.Error) {
	if err := f.called("removeInterface", zone, name); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.zones[zone], name) {
		return "", exception("UNKNOWN_INTERFACE: '" + name + "' not in '" + zone + "'")
	}
	f.zones[zone] = slices.DeleteFunc(slices.Clone(f.zones[zone]), func(n string) bool { return n == name })
	return zone, nil
}

func (f *fake) addZone2(name string, how map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) {
	if err := f.called("addZone2", name); err != nil {
		return "/", err
	}
	target, _ := how["target"].Value().(string)
	return f.permanently(name, target)
}

func (f *fake) addZone(name string, how settings) (dbus.ObjectPath, *dbus.Error) {
	if err := f.called("addZone", name); err != nil {
		return "/", err
	}
	return f.permanently(name, how.Target)
}

func (f *fake) permanently(name, target string) (dbus.ObjectPath, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.permanent[name]; there {
		return "/", exception("NAME_CONFLICT: new_zone(): '" + name + "'")
	}
	f.permanent[name], f.targets[name] = nil, target
	return configPath + "/zone/1", nil
}

func (f *fake) addPolicy(name string, how map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) {
	if err := f.called("addPolicy", name); err != nil {
		return "/", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.policies, name) {
		return "/", exception("NAME_CONFLICT: new_policy(): '" + name + "'")
	}
	ingress, _ := how["ingress_zones"].Value().([]string)
	egress, _ := how["egress_zones"].Value().([]string)
	f.policies = append(f.policies, name)
	f.targets[name] = fmt.Sprintln(ingress, egress, how["target"].Value())
	return configPath + "/policy/1", nil
}

// members are who is in a zone, sorted.
func (f *fake) members(zone string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(slices.Sorted(slices.Values(f.zones[zone])), " ")
}

// count is how many calls began with these words.
func (f *fake) count(words string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, call := range f.calls {
		if strings.HasPrefix(call, words) {
			n++
		}
	}
	return n
}
