package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// fakeDisk is a Store and a Mounter in memory. It fails the test if two verbs are about
// one volume at once.
type fakeDisk struct {
	t       *testing.T
	mu      sync.Mutex
	have    map[string]model.Volume
	mounted map[string]bool
	parts   map[model.ContainerID]int
	busy    map[string]bool
	fail    error // of the next Make, Remove, Mount or MountPart
	said    []string
}

func (d *fakeDisk) enter(name string) (leave func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy[name] {
		d.t.Errorf("two at once about %s", name)
	}
	d.busy[name] = true
	err, d.fail = d.fail, nil
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.busy[name] = false
	}, err
}

func (d *fakeDisk) List() ([]model.Volume, error) { return slices.Collect(maps.Values(d.have)), nil }
func (d *fakeDisk) Make(v model.Volume) (model.Volume, error) {
	leave, err := d.enter(v.Name)
	defer leave()
	if err != nil {
		return v, err
	}
	v.Mountpoint = "/v/" + v.Name
	d.mu.Lock()
	defer d.mu.Unlock()
	d.have[v.Name] = v
	return v, nil
}
func (d *fakeDisk) Remove(name string) error {
	leave, err := d.enter(name)
	defer leave()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.mounted[name] {
		d.t.Errorf("%s is removed though it is mounted", name)
	}
	if err == nil {
		delete(d.have, name)
	}
	return err
}
func (d *fakeDisk) Size(_ context.Context, name string) (int64, error) { return int64(len(name)), nil }
func (d *fakeDisk) Mount(_ context.Context, v model.Volume) error {
	leave, err := d.enter(v.Name)
	defer leave()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && len(v.Options) > 0 {
		d.mounted[v.Name] = true
	}
	return err
}
func (d *fakeDisk) Unmount(v model.Volume) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.mounted, v.Name)
	return nil
}
func (d *fakeDisk) MountPart(id model.ContainerID, folder string, _ model.VolumeUse) error {
	leave, err := d.enter(strings.TrimPrefix(folder, "/v/"))
	defer leave()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.parts[id]++
	return err
}
func (d *fakeDisk) Show(_ context.Context, id model.ImageID, look func(string) error) error {
	if id != "sha256:there" {
		return model.Errorf(model.NotFound, "No such image: %s", id)
	}
	return look("/images/there")
}
func (d *fakeDisk) UnmountParts(id model.ContainerID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.parts, id)
	return nil
}
func (d *fakeDisk) PartOf(id model.ContainerID, target string) string { return string(id) + target }
func (d *fakeDisk) Sweep(used func(string) bool, all []model.Volume) error {
	for _, v := range all {
		if !used(v.Name) {
			delete(d.mounted, v.Name)
		}
	}
	return nil
}
func (d *fakeDisk) Publish(e events.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said = append(d.said, strings.TrimSpace(fmt.Sprint(e.Action, " ", e.Actor.ID, " ", e.Actor.Attributes["container"])))
}

func (d *fakeDisk) heard() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := strings.Join(d.said, "; ")
	d.said = nil
	return all
}

func (d *fakeDisk) Docker(root string) ([]model.Volume, error) {
	if root != "/docker" {
		return nil, model.Errorf(model.NotFound, "no volumes")
	}
	return []model.Volume{{Name: "one", Driver: "local"}, {Name: "two", Driver: "local", Labels: map[string]string{"a": "1"}}, {Name: "..", Driver: "local"}}, nil
}
func (d *fakeDisk) Copy(v model.Volume) (model.Volume, error) { return d.Make(v) }

func newDisk(t *testing.T) *fakeDisk {
	return &fakeDisk{t: t, have: map[string]model.Volume{}, mounted: map[string]bool{}, parts: map[model.ContainerID]int{}, busy: map[string]bool{}}
}

func open(t *testing.T, d *fakeDisk) *Manager {
	t.Helper()
	m, err := New(Options{Store: d, Mounter: d, Origin: d, Events: d})
	must(t, err)
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, kind model.Kind, text string) {
	t.Helper()
	if err == nil || model.KindOf(err) != kind || err.Error() != text {
		t.Errorf("%v, want %s", err, text)
	}
}

var tmpfs = map[string]string{"type": "tmpfs", "device": "tmpfs"}

// TestLifeOfAVolume: who has a volume keeps it, and what its options name is mounted for
// as long as somebody runs with it.
func TestLifeOfAVolume(t *testing.T) {
	d := newDisk(t)
	m := open(t, d)
	ctx := t.Context()
	for _, id := range []model.ContainerID{"c1", "c2"} {
		_, err := m.Use(ctx, id, model.VolumeRequest{Name: "vol", Options: tmpfs})
		must(t, err)
	}
	use := []model.VolumeUse{{Name: "vol", Target: "/a"}, {Name: "vol", Target: "/b", Subpath: "sub", Part: "p"}}
	for _, id := range []model.ContainerID{"c1", "c2"} {
		settled, err := m.Mount(ctx, id, use)
		must(t, err)
		if !d.mounted["vol"] || d.parts[id] != 1 {
			t.Errorf("%s: mounted %v, parts %v", id, d.mounted, d.parts)
		}
		settled()
		if d.parts[id] != 0 {
			t.Error("a part stays mounted")
		}
	}
	wantError(t, m.Remove(ctx, "vol", true), model.Conflict, "remove vol: volume is in use - [c1, c2]")
	m.Unmount("c1")
	m.Unmount("c1") // of a start that failed, after its end was seen
	if !d.mounted["vol"] {
		t.Error("unmounted though c2 runs")
	}
	must(t, m.Release(ctx, "c1", []string{"vol"})) // another has it: it stays
	m.Unmount("c2")
	if d.mounted["vol"] {
		t.Error("still mounted")
	}
	must(t, m.Release(ctx, "c2", []string{"vol"}))
	if len(d.have) != 0 {
		t.Errorf("left %v", d.have)
	}
	want := "create vol; mount vol c1; mount vol c1; mount vol c2; mount vol c2; unmount vol c1; unmount vol c1; unmount vol c2; unmount vol c2; destroy vol"
	if got := d.heard(); got != want {
		t.Errorf("said %s", got)
	}
}

// TestFailedMount: what was mounted before it is unmounted, and others' is not.
func TestFailedMount(t *testing.T) {
	d := newDisk(t)
	m := open(t, d)
	for _, name := range []string{"one", "two"} {
		_, err := m.Use(t.Context(), "c1", model.VolumeRequest{Name: name, Options: tmpfs})
		must(t, err)
	}
	_, err := m.Mount(t.Context(), "c1", []model.VolumeUse{{Name: "one", Target: "/1"}, {Name: "gone", Target: "/2"}})
	wantError(t, err, model.NotFound, "get gone: no such volume")
	if !d.mounted["one"] {
		t.Error("not mounted")
	}
	m.Unmount("c1")
	if len(d.mounted) != 0 {
		t.Errorf("mounted %v", d.mounted)
	}
	d.fail = errors.New("no route to the server")
	if _, err := m.Mount(t.Context(), "c1", []model.VolumeUse{{Name: "two", Target: "/2"}}); err == nil {
		t.Error("mounted")
	}
	m.Unmount("c1")
	must(t, m.Release(t.Context(), "c1", nil))
	must(t, m.Remove(t.Context(), "two", false))
}

// TestRestart: a daemon that starts knows from its containers who has what, and takes
// away what is mounted for nobody.
func TestRestart(t *testing.T) {
	d := newDisk(t)
	for _, name := range []string{"used", "kept", "idle"} {
		_, err := open(t, d).Create(t.Context(), model.VolumeRequest{Name: name, Options: tmpfs})
		must(t, err)
		d.mounted[name] = true
	}
	d.heard()
	m := open(t, d)
	m.Adopt("runs", []model.VolumeUse{{Name: "used", Target: "/u"}}, true)
	m.Adopt("stopped", []model.VolumeUse{{Name: "kept", Target: "/k"}, {Name: "lost", Target: "/l"}}, false)
	m.Adopted()
	if got := slices.Sorted(maps.Keys(d.mounted)); !slices.Equal(got, []string{"used"}) {
		t.Errorf("mounted %v", got)
	}
	wantError(t, m.Remove(t.Context(), "kept", false), model.Conflict, "remove kept: volume is in use - [stopped]")
	m.Unmount("runs")
	if len(d.mounted) != 0 || d.heard() != "unmount used runs" {
		t.Errorf("mounted %v", d.mounted)
	}
}

// TestFailures: what could not be made is not there; what could not be removed stays.
func TestFailures(t *testing.T) {
	d := newDisk(t)
	m := open(t, d)
	d.fail = errors.New("no space left on device")
	_, err := m.Create(t.Context(), model.VolumeRequest{Name: "vol"})
	wantError(t, err, model.Internal, "create vol: no space left on device")
	if _, err := m.Get("vol"); model.KindOf(err) != model.NotFound {
		t.Error(err)
	}
	_, err = m.Create(t.Context(), model.VolumeRequest{Name: "vol"})
	must(t, err)
	d.fail = errors.New("device or resource busy")
	wantError(t, m.Remove(t.Context(), "vol", false), model.Internal, "remove vol: device or resource busy")
	if _, err := m.Get("vol"); err != nil {
		t.Error(err)
	}
}

// TestManyAtOnce: one verb at a time is about a volume, and none is lost.
func TestManyAtOnce(t *testing.T) {
	d := newDisk(t)
	m := open(t, d)
	var all sync.WaitGroup
	for i := range 8 {
		id := model.ContainerID(fmt.Sprint("c", i))
		all.Go(func() {
			for range 50 {
				v, err := m.Use(t.Context(), id, model.VolumeRequest{Name: "vol"})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := m.Mount(t.Context(), id, []model.VolumeUse{{Name: v.Name, Target: "/v"}}); err != nil {
					t.Error(err) // it was held: nobody may remove it
				}
				if err := m.Release(t.Context(), id, []string{"vol"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if len(d.have) != 0 || len(m.mounted) != 0 {
		t.Errorf("left %v, mounted %v", d.have, m.mounted)
	}
}

// TestImport: each volume is told of, and one that is here stays as it is.
func TestImport(t *testing.T) {
	d := newDisk(t)
	m := open(t, d)
	_, err := m.Create(t.Context(), model.VolumeRequest{Name: "one"})
	must(t, err)
	var told []string
	tell := func(i Imported) { told = append(told, fmt.Sprint(i.Name, ": ", i.Err)) }
	wantError(t, m.Import(t.Context(), "/nowhere", nil, tell), model.NotFound, "no volumes")
	wantError(t, m.Import(t.Context(), "/docker", []string{"three"}, tell), model.NotFound, "import three: no such volume")
	must(t, m.Import(t.Context(), "/docker", []string{"one"}, tell))
	must(t, m.Import(t.Context(), "/docker", nil, tell))
	want := []string{"one: a volume of that name is here already", "one: a volume of that name is here already", "two: <nil>"}
	if len(told) != 4 || !slices.Equal(told[:3], want) || !strings.Contains(told[3], "invalid characters") {
		t.Errorf("told %q", told)
	}
	if v, err := m.Get("two"); err != nil || v.Labels["a"] != "1" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestFilters(t *testing.T) {
	m := open(t, newDisk(t))
	for _, r := range []model.VolumeRequest{{Name: "photos", Labels: map[string]string{"kind": "photo"}}, {Name: "plain"}, {Name: "linked", Options: tmpfs}, {}} {
		_, err := m.Create(t.Context(), r)
		must(t, err)
	}
	_, err := m.Use(t.Context(), "c1", model.VolumeRequest{Name: "photos"})
	must(t, err)
	for text, want := range map[string]int{
		`{}`: 4, `{"name":["p"]}`: 2, `{"name":["^pl"]}`: 1, `{"dangling":["true"]}`: 3, `{"dangling":["0"]}`: 1, `{"driver":["local"]}`: 4, `{"driver":["nfs"]}`: 0,
		`{"label":["kind"]}`: 1, `{"label":["kind=song"]}`: 0, `{"label":["com.docker.volume.anonymous"]}`: 1,
	} {
		f, err := query.ParseFilters(text)
		must(t, err)
		got, err := m.List(f)
		if err != nil || len(got) != want {
			t.Errorf("%s: %d volumes (%v), want %d", text, len(got), err, want)
		}
	}
	for _, step := range []struct {
		filter  string
		removed int
	}{{`{"label!":["com.docker.volume.anonymous"]}`, 0}, {`{}`, 1}, {`{"all":["1"],"label":["x"]}`, 0}, {`{"all":["true"]}`, 1}, {`{"all":["true"]}`, 0}} {
		f, err := query.ParseFilters(step.filter)
		must(t, err)
		if got, err := m.Prune(t.Context(), f); err != nil || len(got.Names) != step.removed {
			t.Errorf("prune %s: %v (%v), want %d", step.filter, got, err, step.removed)
		}
	}
	_, err = m.Prune(t.Context(), query.Filters{"all": {"maybe"}})
	wantError(t, err, model.Invalid, `invalid filter 'all': strconv.ParseBool: parsing "maybe": invalid syntax`)
	_, err = m.Prune(t.Context(), query.Filters{"all": {"0", "1"}})
	wantError(t, err, model.Invalid, `invalid filter 'all=[0 1]': only one value is expected`)
}

// TestOptions: Docker's words for options that cannot be.
func TestOptions(t *testing.T) {
	for _, c := range []struct {
		options map[string]string
		want    string
	}{
		{nil, ""}, {tmpfs, ""}, {map[string]string{"type": "none", "o": "bind", "device": "/srv"}, ""}, {map[string]string{"size": "0"}, ""},
		{map[string]string{"speed": "1"}, `invalid option: "speed"`},
		{map[string]string{"type": "nfs"}, `missing required option: "device"`}, {map[string]string{"device": "x"}, `missing required option: "type"`},
		{map[string]string{"o": "ro"}, `missing required option: "device"`},
		{map[string]string{"size": "1g"}, "quota size requested but no quota support"}, {map[string]string{"size": "x"}, "invalid size: 'x'"},
		{map[string]string{"type": "cifs", "device": "//host:1/x"}, "port not allowed in CIFS device URL, include 'port' in 'o='"},
	} {
		got := ""
		if err := CheckOptions(c.options); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.options, got, c.want)
		}
	}
}

// FuzzNames: no name leads out of the folder of volumes, or hides in it.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"..", "a/b", ".new-x", "ok", "x", strings.Repeat("n", 300), "a\x00b", "ü"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) == nil && (len(name) < 2 || len(name) > 230 || name[0] == '.' || strings.ContainsAny(name, "/\x00 \n")) {
			t.Errorf("%q was taken", name)
		}
	})
}

// TestMountImage: an image's files are mounted as a part of a volume is, and are nobody's volume.
func TestMountImage(t *testing.T) {
	d := newDisk(t)
	m, err := New(Options{Store: d, Mounter: d, Images: d, Events: d})
	must(t, err)
	m.Adopt("c0", []model.VolumeUse{{Image: "sha256:there", Target: "/i"}}, true)
	m.Unmount("c0")
	settled, err := m.Mount(t.Context(), "c1", []model.VolumeUse{{Image: "sha256:there", Target: "/i", Part: "/p"}, {Image: "sha256:there", Target: "/j", Part: "/q"}})
	must(t, err)
	if d.parts["c1"] != 2 {
		t.Errorf("%d parts", d.parts["c1"])
	}
	settled()
	if d.parts["c1"] != 0 {
		t.Error("the parts stay though the process has them")
	}
	m.Unmount("c1")
	if _, err := m.Mount(t.Context(), "c1", []model.VolumeUse{{Image: "sha256:gone", Target: "/i"}}); model.KindOf(err) != model.NotFound {
		t.Errorf("an image that is gone: %v", err)
	}
	must(t, m.Release(t.Context(), "c1", nil))
	if len(d.said) > 0 {
		t.Errorf("an image is no volume: %v", d.said)
	}
}
