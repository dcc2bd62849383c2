package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// inspected is what docker inspect says of a container, as far as the crash tests care.
type inspected struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Status  string
		Running bool
		Pid     int
	}
	HostConfig struct {
		AutoRemove bool
	}
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress, Gateway, MacAddress string }
	}
}

// short is the name of its namespace.
func (c inspected) short() string { return c.ID[:12] }

// containers is what docker ps -a and docker inspect say.
func (r *rig) containers(ctx context.Context) ([]inspected, error) {
	ids, err := r.h.Docker(ctx, "ps", "-aq", "--no-trunc")
	if err != nil || ids == "" {
		return nil, err
	}
	out, err := r.h.Docker(ctx, append([]string{"inspect"}, lines(ids)...)...)
	if err != nil {
		return nil, err
	}
	var have []inspected
	return have, json.Unmarshal([]byte(out), &have)
}

// running are those that run.
func running(have []inspected) []inspected {
	return slices.DeleteFunc(slices.Clone(have), func(c inspected) bool { return !c.State.Running })
}

// agree compares the model with the runtime, the disk and the kernel: what is there, and that nothing else is.
func (r *rig) agree(ctx context.Context, have []inspected) error {
	var all, live, spaces []string
	for _, c := range have {
		all = append(all, c.ID)
	}
	for _, c := range running(have) {
		live = append(live, c.ID)
		spaces = append(spaces, c.short())
	}
	same := func(what string, want []string, seen func(context.Context) ([]string, error)) error {
		got, err := seen(ctx)
		if err != nil {
			return err
		}
		return errors.Join(
			leftover(what, added(want, got)), // there and not wanted
			prefixed("missing: "+what, added(got, want)),
		)
	}
	return errors.Join(
		same("folder of a container", all, r.list("ls", "-A", r.h.file("data/containers"))),
		same("task", live, r.tasks),
		same("network namespace", spaces, r.list("ls", "-A", "/run/netns")),
		r.runtimeKnowsNoOther(ctx, all),
		r.shimsOf(ctx, live, all),
		r.ownNamespaces(ctx, running(have)),
		r.ports(ctx, running(have)),
		addresses(running(have)),
		r.oneStory(ctx, have),
		r.noDrift(ctx),
	)
}

// oneStory compares what the model says of containers with what it says of their sandboxes, and both with what docker
// says.
func (r *rig) oneStory(ctx context.Context, have []inspected) error {
	out, err := r.h.Run(ctx, r.linkspan, "state")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	var want, records, sandboxes, up []string
	for _, c := range have {
		want = append(want, c.short()+" "+strings.TrimPrefix(c.Name, "/"))
	}
	for _, line := range lines(out) {
		words := strings.Fields(line)
		said := map[string]string{}
		for _, w := range words {
			name, value, _ := strings.Cut(w, "=")
			said[name] = value
		}
		switch {
		case strings.HasPrefix(line, "container "):
			records = append(records, words[1]+" "+said["name"])
		case strings.HasPrefix(line, "sandbox "):
			sandboxes = append(sandboxes, said["container"]+" "+said["name"])
			if said["up"] == "true" {
				up = append(up, said["container"])
			}
		}
	}
	var live []string
	for _, c := range running(have) {
		live = append(live, c.short())
	}
	return errors.Join(
		leftover("record", added(want, records)), prefixed("missing: record", added(records, want)),
		leftover("sandbox", added(want, sandboxes)), // one that shares a network has none
		leftover("network of a container that does not run", added(live, up)),
	)
}

// prefixed is an error about items, nil if there are none.
func prefixed(what string, items []string) error {
	if len(items) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", what, strings.Join(items, " | "))
}

// list is the lines that a command on the host prints.
func (r *rig) list(args ...string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		out, err := r.h.Run(ctx, args...)
		return lines(out), err
	}
}

// ctr asks the engine's containerd.
func (r *rig) ctr(ctx context.Context, args ...string) ([]string, error) {
	out, err := r.h.Run(ctx, append([]string{"ctr", "-a", "/run/linkspan/containerd/containerd.sock", "-n", "linkspan"}, args...)...)
	return lines(out), err
}

// tasks are the containers that have a process, as containerd sees it.
func (r *rig) tasks(ctx context.Context) ([]string, error) {
	rows, err := r.ctr(ctx, "tasks", "ls")
	var ids []string
	for _, row := range rows[min(1, len(rows)):] { // below the heading
		fields := strings.Fields(row)
		if len(fields) == 3 && fields[2] == "RUNNING" {
			ids = append(ids, fields[0])
		} else {
			ids = append(ids, row)
		}
	}
	return ids, err
}

// shimsOf finds shims that are missing, and shims of containers that are not. If the engine dies while containerd makes
// a task, containerd takes the task back at once and needs five seconds until it gives its shim up, too; so a container
// that does not run may have one.
func (r *rig) shimsOf(ctx context.Context, live, all []string) error {
	out, err := r.h.Run(ctx, "ps", "-eo", "args=")
	var ids []string
	for _, line := range lines(out) {
		words := strings.Fields(line)
		if at := slices.Index(words, "-id"); strings.Contains(words[0], "containerd-shim") && at >= 0 && at+1 < len(words) {
			ids = append(ids, words[at+1])
		}
	}
	return errors.Join(err, leftover("shim", added(all, ids)), prefixed("missing: shim", added(ids, live)))
}

// runtimeKnowsNoOther finds records and writable layers of containers that are not. The runtime is told of a container
// when it first starts, so it may know fewer.
func (r *rig) runtimeKnowsNoOther(ctx context.Context, all []string) error {
	records, err := r.ctr(ctx, "containers", "ls", "-q")
	if err != nil {
		return err
	}
	rows, err := r.ctr(ctx, "snapshots", "ls")
	if err != nil {
		return err
	}
	var layers []string
	for _, row := range rows {
		if fields := strings.Fields(row); fields[len(fields)-1] == "Active" {
			layers = append(layers, fields[0])
		}
	}
	return errors.Join(leftover("containerd record", added(all, records)), leftover("writable layer", added(all, layers)))
}

// ownNamespaces finds containers whose process is not in the namespace that bears their name, or is not at all.
func (r *rig) ownNamespaces(ctx context.Context, live []inspected) error {
	args := []string{"sh", "-c", `while [ $# -gt 0 ]; do [ /proc/$1/ns/net -ef /run/netns/$2 ] || echo "$2 (process $1)"; shift 2; done`, "sh"}
	for _, c := range live {
		args = append(args, strconv.Itoa(c.State.Pid), c.short())
	}
	out, err := r.h.Run(ctx, args...)
	return errors.Join(err, prefixed("not in a namespace of their own", lines(out)))
}

// ports compares the host's ends of veth pairs, and the firewall's sets, with the endpoints.
func (r *rig) ports(ctx context.Context, live []inspected) error {
	out, err := r.h.Run(ctx, "ip", "-o", "link", "show", "type", "veth")
	if err != nil {
		return err
	}
	var veths []string
	for _, line := range lines(out) {
		if name, _, _ := strings.Cut(strings.Fields(line)[1], "@"); name != uplink {
			veths = append(veths, name)
		}
	}
	internal, err := r.internal(ctx)
	if err != nil {
		return err
	}
	endpoints, addresses := 0, 0
	for _, c := range live {
		open := 0
		for name := range c.NetworkSettings.Networks {
			endpoints++
			if internal[name] {
				addresses++
			} else {
				open++
			}
		}
		addresses += open * open // by each of these ports a container may use all that it has on such networks
	}
	var wrong []error
	if len(veths) != endpoints {
		wrong = append(wrong, fmt.Errorf("%d veths for %d endpoints: %v", len(veths), endpoints, veths))
	}
	pinned, err := r.elements(ctx, "pinned")
	wrong = append(wrong, err, leftover("pin", added(veths, pinned)), prefixed("missing: pin", added(pinned, veths)))
	for set, want := range map[string]int{"pin_mac": endpoints, "pin_ip4": addresses} {
		elements, err := r.elements(ctx, set)
		wrong = append(wrong, err)
		if len(elements) != want {
			wrong = append(wrong, fmt.Errorf("%d elements in %s, not %d, for %d endpoints: %v", len(elements), set, want, endpoints, elements))
		}
	}
	return errors.Join(wrong...)
}

// internal are the networks that are internal.
func (r *rig) internal(ctx context.Context) (map[string]bool, error) {
	out, err := r.h.Docker(ctx, "network", "ls", "--filter", "driver=bridge", "--format", "{{.Name}} {{.Internal}}")
	all := map[string]bool{}
	for _, line := range lines(out) {
		name, is, _ := strings.Cut(line, " ")
		all[name] = is == "true"
	}
	return all, err
}

// elements are those of a set of the engine's bridge table; names as they are, all else as JSON.
func (r *rig) elements(ctx context.Context, set string) ([]string, error) {
	out, err := r.h.Run(ctx, "nft", "-j", "list", "set", "bridge", "linkspan", set)
	if err != nil {
		return nil, err
	}
	var list struct {
		Nftables []struct {
			Set struct {
				Elem []json.RawMessage
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	var elements []string
	for _, object := range list.Nftables {
		for _, raw := range object.Set.Elem {
			elements = append(elements, strings.Trim(string(raw), `"`))
		}
	}
	return elements, nil
}

// addresses finds endpoints without an address, and two with the same.
func addresses(live []inspected) error {
	holders := map[string]string{}
	var wrong []error
	for _, c := range live {
		for network, e := range c.NetworkSettings.Networks {
			for _, value := range []string{e.IPAddress, e.MacAddress} {
				where := network + " " + value
				if other, taken := holders[where]; taken || value == "" {
					wrong = append(wrong, fmt.Errorf("%s: address %q on %s (also of %q)", c.Name, value, network, other))
				}
				holders[where] = c.Name
			}
		}
	}
	return errors.Join(wrong...)
}

// noDrift asks the engine whether the kernel is as it wants.
func (r *rig) noDrift(ctx context.Context) error {
	out, err := r.h.Run(ctx, r.linkspan, "network", "diff")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// reachEachOther has every container show its addresses, ping its gateways and, by name, the next container on each of
// its networks.
func (r *rig) reachEachOther(ctx context.Context, have []inspected) error {
	last := map[string]string{} // by network
	for _, c := range running(have) {
		for network := range c.NetworkSettings.Networks {
			last[network] = strings.TrimPrefix(c.Name, "/")
		}
	}
	var all errgroup.Group
	all.SetLimit(4)
	for _, c := range running(have) {
		peers := maps.Clone(last)
		all.Go(func() error { return r.reaches(ctx, c, peers) })
		for network := range c.NetworkSettings.Networks {
			last[network] = strings.TrimPrefix(c.Name, "/")
		}
	}
	return all.Wait()
}

func (r *rig) reaches(ctx context.Context, c inspected, peers map[string]string) error {
	script := []string{"ip -o -4 addr"}
	for network, e := range c.NetworkSettings.Networks {
		script = append(script, "ping -c 1 -W 2 "+e.Gateway, "ping -c 1 -W 2 "+peers[network])
	}
	out, err := r.h.Docker(ctx, "exec", c.ID, "sh", "-c", strings.Join(script, " && "))
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", c.Name, err, out)
	}
	for _, e := range c.NetworkSettings.Networks {
		if !strings.Contains(out, " "+e.IPAddress+"/") {
			return fmt.Errorf("%s does not have %s:\n%s", c.Name, e.IPAddress, out)
		}
	}
	return nil
}
