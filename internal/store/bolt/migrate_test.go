package bolt

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// stored copies a file of testdata, which an earlier version of the engine wrote,
// to where it may be changed.
func stored(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStoreOfVersion1: what the first version wrote is read: a running container
// "one" in the network "web".
func TestStoreOfVersion1(t *testing.T) {
	s := opened(t, stored(t, "state-v1.db"))
	defer s.Close()
	if s.Instance() == "" {
		t.Error("the store has no ID")
	}
	snapshot, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	web, ok := snapshot.NetworkNamed("web")
	if !ok || web.Driver != "bridge" || web.IPAM.Pools[0].Subnet.String() != "172.18.0.0/16" {
		t.Errorf("network %+v", web)
	}
	if got := len(slices.Collect(snapshot.Networks())); got != 4 {
		t.Errorf("%d networks, want 4", got)
	}
	containers := slices.Collect(snapshot.Containers())
	if len(containers) != 1 {
		t.Fatalf("%d containers", len(containers))
	}
	for _, c := range containers {
		var record struct {
			Version int
			Name    string
			Sandbox model.SandboxID
		}
		if err := json.Unmarshal(c.Document, &record); err != nil || record.Version != 1 || record.Name != "one" || c.Name != "one" {
			t.Errorf("container %s %+v (%v)", c.Name, record, err)
		}
		box, ok := snapshot.SandboxOf(c.ID)
		if !ok || box.ID != record.Sandbox || box.Name != "one" || !box.Up {
			t.Errorf("sandbox %+v of %+v", box, record)
		}
		for e := range snapshot.Endpoints() {
			if e.Sandbox != box.ID || e.Network != web.ID || !e.Up || e.Addr4.String() != "172.18.0.2" || !slices.Contains(e.Aliases, "first") {
				t.Errorf("endpoint %+v", e)
			}
		}
	}
}

// TestStoreOfSchema1: the store of a release that kept containers' records beside the
// state, of a daemon that was killed, becomes one in which every container and its
// sandbox tell the same story.
func TestStoreOfSchema1(t *testing.T) {
	path := unpacked(t, "state-v1-containers.db.gz")
	s := opened(t, path)
	snapshot, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own := []string{"db", "front", "gone", "made", "multi", "policy", "stopped"}
	for _, name := range own {
		c, ok := snapshot.ContainerNamed(name)
		sb, has := snapshot.SandboxOf(c.ID)
		if said := `"Sandbox":"` + string(sb.ID) + `"`; !ok || !has || sb.Name != name || !strings.Contains(string(c.Document), said) {
			t.Errorf("%s: container %q, sandbox %+v", name, c.ID, sb)
		}
	}
	friend, _ := snapshot.ContainerNamed("friend") // shares a network
	if _, has := snapshot.SandboxOf(friend.ID); has || !strings.Contains(string(friend.Document), `"NetworkMode":"container:`) {
		t.Errorf("the one that shares a network: %s", friend.Document)
	}
	if n := len(slices.Collect(snapshot.Containers())); n != len(own)+1 {
		t.Errorf("%d containers, want %d", n, len(own)+1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	first := schema{version: 1}
	if _, err := open(path, first); err == nil || !strings.Contains(err.Error(), "written by a newer version of the engine (schema 2, this one knows 1)") {
		t.Errorf("the older version opens it: %v", err)
	}
	if nameOf(t, path+".v1", first) != "" { // there is no n1 in it
		t.Error("the copy is another file")
	}
}

// TestHalfARenameIsSettled: a daemon of schema 1 was killed between the two writes of
// a rename. Nobody was told that it worked.
func TestHalfARenameIsSettled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := open(path, schema{version: 1})
	if err != nil {
		t.Fatal(err)
	}
	tx := state.Begin(state.Empty(), facts.Set{})
	tx.PutSandbox(model.Sandbox{ID: "s1", Container: "c1", Name: "new", Up: true, Generation: 3})
	tx.PutSandbox(model.Sandbox{ID: "s2", Container: "c2", Name: "alone"})
	now, changes := tx.Commit()
	err = errors.Join(s.Commit(t.Context(), state.Commit{Revision: now.Revision, Changes: changes}), s.db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucket(bucketRecords)
		if err != nil {
			return err
		}
		return bucket.Put([]byte("c1"), []byte(`{"Version":2,"Name":"old"}`))
	}), s.Close())
	if err != nil {
		t.Fatal(err)
	}
	s = opened(t, path)
	defer s.Close()
	after, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, _ := after.ContainerNamed("old")
	if sb, _ := after.SandboxOf("c1"); c.ID != "c1" || sb.Name != "old" || !sb.Up || sb.Generation != 3 {
		t.Errorf("container %+v, sandbox %+v", c, sb)
	}
	if sb, ok := after.Sandbox("s2"); !ok || sb.Name != "alone" { // whoever runs containers removes it
		t.Errorf("the other sandbox: %+v (%t)", sb, ok)
	}
}

// rename is a migration that changes a record, and notes that it ran.
func rename(from, to string) migration {
	return func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte(state.KindNetwork))
		raw := bucket.Get([]byte("n1"))
		if !bytes.Contains(raw, []byte(from)) {
			return errors.New("a step is out of turn")
		}
		return bucket.Put([]byte("n1"), bytes.Replace(raw, []byte(from), []byte(to), 1))
	}
}

// old returns a file of version 1 with a network "web".
func old(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := open(path, schema{version: 1})
	if err != nil {
		t.Fatal(err)
	}
	now, changes := sample()
	if err := errors.Join(s.Commit(t.Context(), state.Commit{Revision: now.Revision, Changes: changes}), s.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// nameOf returns the network's name in a file that the schema can read.
func nameOf(t *testing.T, path string, written schema) string {
	t.Helper()
	s, err := open(path, written)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	snapshot, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, _ := snapshot.Network("n1")
	return n.Name
}

func TestUpgrade(t *testing.T) {
	path := old(t)
	third := schema{version: 3, steps: []migration{rename(`"web"`, `"second"`), rename(`"second"`, `"third"`)}}
	if got := nameOf(t, path, third); got != "third" {
		t.Errorf("after both steps the network is %q", got)
	}
	if got := nameOf(t, path, third); got != "third" {
		t.Errorf("after another start the network is %q: steps ran again", got)
	}
	if got := nameOf(t, path+".v1", schema{version: 1}); got != "web" {
		t.Errorf("in the copy the network is %q", got)
	}
	if info, err := os.Stat(path + ".v1"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("copy: %v, %v", info, err)
	}
	if _, err := open(path, schema{version: 1}); err == nil || !strings.Contains(err.Error(), "written by a newer version of the engine (schema 3, this one knows 1)") {
		t.Errorf("the older version opens it: %v", err)
	}
	fourth := schema{version: 4, steps: append(third.steps, rename(`"third"`, `"fourth"`))}
	if got := nameOf(t, path, fourth); got != "fourth" {
		t.Errorf("after the next version's step the network is %q", got)
	}
	if got := nameOf(t, path+".v3", third); got != "third" {
		t.Errorf("in the copy of version 3 the network is %q", got)
	}
}

func TestUpgradeThatFailsChangesNothing(t *testing.T) {
	path := old(t)
	broken := schema{version: 3, steps: []migration{rename(`"web"`, `"second"`), func(*bbolt.Tx) error { return errors.New("no room") }}}
	if _, err := open(path, broken); err == nil || !strings.Contains(err.Error(), "upgrade from schema 2 to 3: no room") {
		t.Fatalf("error %v", err)
	}
	if got := nameOf(t, path, schema{version: 1}); got != "web" {
		t.Errorf("after a failed upgrade the network is %q", got)
	}
}

func TestUpgradeNeedsItsCopy(t *testing.T) {
	path := old(t)
	if err := os.Mkdir(path+".v1.new", 0o700); err != nil { // stands in the way
		t.Fatal(err)
	}
	second := schema{version: 2, steps: []migration{rename(`"web"`, `"second"`)}}
	if _, err := open(path, second); err == nil || !strings.Contains(err.Error(), "keep a copy before the upgrade") {
		t.Fatalf("error %v", err)
	}
	if got := nameOf(t, path, schema{version: 1}); got != "web" {
		t.Errorf("upgraded without a copy: the network is %q", got)
	}
}

// TestStepsAreComplete: who raises the schema's version brings the step along.
func TestStepsAreComplete(t *testing.T) {
	if s := current(); len(s.steps) != int(s.version)-1 {
		t.Errorf("schema %d with %d steps", s.version, len(s.steps))
	}
	if _, err := open(filepath.Join(t.TempDir(), "state.db"), schema{version: 2}); err == nil {
		t.Error("a schema without its steps opens a file")
	}
}

// unpacked is stored for a file that is compressed.
func unpacked(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = io.ReadAll(packed); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStoreOfVersion1WithContainers: what an earlier release left while containers
// ran is read: networks, addresses, ports, links, and a record of each container.
func TestStoreOfVersion1WithContainers(t *testing.T) {
	s := opened(t, unpacked(t, "state-v1-containers.db.gz"))
	defer s.Close()
	snapshot, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var networks, boxes []string
	for n := range snapshot.Networks() {
		networks = append(networks, fmt.Sprint(n.Name, " ", n.Driver, " ", len(n.IPAM.Pools)))
	}
	for b := range snapshot.Sandboxes() {
		boxes = append(boxes, fmt.Sprint(b.Name, " up=", b.Up, " ports=", len(b.Ports), " links=", len(b.Links), "/", len(b.LinkedBy)))
	}
	slices.Sort(networks)
	slices.Sort(boxes)
	if want := []string{"back bridge 2", "bridge bridge 1", "host host 0", "inner bridge 1", "none null 0", "web bridge 1"}; !slices.Equal(networks, want) {
		t.Errorf("networks %q, want %q", networks, want)
	}
	if want := []string{"db up=true ports=0 links=0/1", "front up=true ports=4 links=1/0", "gone up=false ports=2 links=0/0", "made up=false ports=0 links=0/0",
		"multi up=true ports=1 links=0/0", "policy up=true ports=0 links=0/0", "stopped up=false ports=0 links=0/0"}; !slices.Equal(boxes, want) {
		t.Errorf("sandboxes %q, want %q", boxes, want)
	}
	if n := len(slices.Collect(snapshot.Containers())); n != 8 {
		t.Errorf("%d containers, want 8", n)
	}
}
