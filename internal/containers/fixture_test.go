package containers

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/store/bolt"
)

// earlierStore opens a copy of the store that an earlier release left, with running
// and stopped containers, links, published ports and several networks.
func earlierStore(t *testing.T) *bolt.Store {
	t.Helper()
	packed, err := os.ReadFile("../store/bolt/testdata/state-v1-containers.db.gz")
	must(t, err)
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	must(t, err)
	raw, err := io.ReadAll(unpacked)
	must(t, err)
	path := filepath.Join(t.TempDir(), "state.db")
	must(t, os.WriteFile(path, raw, 0o600))
	s, err := bolt.Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// upgrade lets a manager begin with what an earlier release left: the store, and
// the processes of the containers that ran.
func (b *bench) upgrade() {
	b.t.Helper()
	s := earlierStore(b.t)
	b.reopen(func() {
		now, err := s.Load(ctx)
		must(b.t, err)
		b.engine.now = now
		for c := range now.Containers() {
			must(b.t, os.MkdirAll(b.dirs.Of(c.ID), 0o700))
			if strings.Contains(string(c.Document), `"Running":true`) {
				must(b.t, b.runtime.Create(ctx, model.ContainerSpec{ID: c.ID}))
				_, err := b.runtime.NewTask(ctx, c.ID, model.StreamOptions{})
				must(b.t, err)
				must(b.t, b.runtime.Start(ctx, c.ID))
			}
		}
	})
}

// told is what a list and an inspection say of a container, in a line.
func told(s container.Summary, c container.InspectResponse) string {
	var networks, ports []string
	for name, e := range s.NetworkSettings.Networks {
		networks = append(networks, fmt.Sprintf("%s=%v,%v", name, e.IPAddress, e.GlobalIPv6Address))
	}
	for _, p := range s.Ports {
		ports = append(ports, fmt.Sprintf("%v:%d:%d/%s", p.IP, p.PublicPort, p.PrivatePort, p.Type))
	}
	for _, list := range [][]string{networks, ports} {
		for i := range list {
			list[i] = strings.ReplaceAll(list[i], "invalid IP", "-")
		}
	}
	slices.Sort(networks)
	slices.Sort(ports)
	if len(ports) > 4 {
		ports = append(ports[:2], fmt.Sprint(len(ports)-2, " more"))
	}
	return strings.Join([]string{s.Names[0][1:], string(s.State), s.HostConfig.NetworkMode, strings.Join(networks, " "), strings.Join(ports, " "),
		strings.Join(c.HostConfig.Links, " "), string(c.HostConfig.RestartPolicy.Name)}, "|")
}

// TestStoreOfAnEarlierRelease: its containers are there, as they were.
func TestStoreOfAnEarlierRelease(t *testing.T) {
	b := newBench(t)
	b.upgrade()
	list, err := b.List(ctx, ListOptions{All: true})
	must(t, err)
	var got []string
	for _, s := range list {
		got = append(got, told(s, b.inspect(s.ID)))
	}
	want := []string{
		"stopped|exited|web|web=-,-|||no",
		"friend|running|container:496cf896bfb69153d48312a930986631d496f158585cd833aa940601455340af||||no",
		"gone|exited|bridge|bridge=-,-|||no",
		"made|created|back|back=-,-|||no",
		"policy|running|web|web=172.18.0.2,-|||always",
		"multi|running|web|back=10.77.0.9,fd77::2 inner=172.19.0.2,- web=172.18.0.9,-|127.0.0.1:8443:443/tcp||no",
		"front|running|bridge|bridge=172.17.0.3,-|0.0.0.0:8080:80/tcp 0.0.0.0:9000:9000/udp 40 more|/db:/front/database|unless-stopped",
		"db|running|bridge|bridge=172.17.0.2,-|-:0:5432/tcp||no",
	}
	equal(t, "containers", got, want)
	if c := b.inspect("policy"); c.Config.Healthcheck == nil || c.State.Health == nil || c.HostConfig.Memory != 64<<20 {
		t.Errorf("policy has %+v, %+v", c.Config.Healthcheck, c.State.Health)
	}
	if c := b.inspect("db"); !slices.Contains(c.Config.Env, "A=b") || c.Config.Labels["tier"] != "back" {
		t.Errorf("db has %v, %v", c.Config.Env, c.Config.Labels)
	}
	if m := b.inspect("stopped").Mounts; len(m) != 1 || m[0].Name != "data" || m[0].Destination != "/data" {
		t.Errorf("stopped has %+v", m)
	}
}

// TestUpgradedContainersLiveOn: what an earlier release wrote is written anew, and
// starts.
func TestUpgradedContainersLiveOn(t *testing.T) {
	b := newBench(t)
	b.upgrade()
	must(t, b.Rename(ctx, "stopped", "again"))
	for _, name := range []string{"made", "gone"} {
		must(t, b.Start(ctx, name))
	}
	must(t, b.Stop(ctx, "front", StopOptions{}))
	b.reopen(nil)
	for name, want := range map[string]container.ContainerState{
		"again": container.StateExited, "made": container.StateRunning, "gone": container.StateRunning, "front": container.StateExited, "multi": container.StateRunning,
	} {
		if got := b.inspect(name).State.Status; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := b.inspect("front").HostConfig; len(got.PortBindings) != 21 || len(got.Links) != 1 {
		t.Errorf("front has %v, %v", got.PortBindings, got.Links)
	}
}
