package containerrecord

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

var update = flag.Bool("update", false, "write the golden of the present version anew")

// notStored are fields of Docker's types that a record does without, each with the
// reason. Today inspect shows them all.
var notStored = map[string]string{}

// TestEveryFieldIsStored: a field that Docker's types have and the stored form does
// not fails here, rather than in a store. Whoever raises github.com/moby/moby/api
// adds what is new to the structs, or to notStored.
func TestEveryFieldIsStored(t *testing.T) {
	want := full()
	lost := map[string]bool{}
	for _, path := range differences(reflect.ValueOf(want), reflect.ValueOf(again(t, want)), "") {
		lost[path] = true
		if notStored[path] == "" {
			t.Errorf("%s is not stored: add it to the stored form, or say why not in notStored", path)
		}
	}
	for path := range notStored {
		if !lost[path] {
			t.Errorf("%s is in notStored, and is stored", path)
		}
	}
}

// TestRecordsComeBack: with any fields set, empty or missing.
func TestRecordsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 500 {
		want := filled(&filler{rng: rng})
		if got := again(t, want); !reflect.DeepEqual(got, want) {
			t.Fatalf("not the same: %v", differences(reflect.ValueOf(want), reflect.ValueOf(got), ""))
		}
	}
}

// TestStoredNamesAreExplicit: no name on disk follows from a name in Go, and zero
// values are left out.
func TestStoredNamesAreExplicit(t *testing.T) {
	always := []string{"Version", "ID", "Name", "Config", "Host", "Target", "Alias"}
	var check func(reflect.Type)
	check = func(at reflect.Type) {
		switch at.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			check(at.Elem())
		case reflect.Struct:
			if !strings.HasPrefix(at.PkgPath(), "github.com/linkspan/") {
				if at.NumField() > 0 && at.PkgPath() != "time" && at.PkgPath() != "net/netip" {
					t.Errorf("%s is stored, and is not ours", at)
				}
				return
			}
			for i := range at.NumField() {
				f := at.Field(i)
				name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
				if !f.Anonymous && (name == "" || options != "omitzero" && !strings.Contains(fmt.Sprint(always), name)) {
					t.Errorf("%s.%s has the tag %q", at, f.Name, f.Tag)
				}
				check(f.Type)
			}
		}
	}
	check(reflect.TypeFor[stored]())
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(raw)
}

// decoded returns the record in a file of testdata.
func decoded(t *testing.T, name string) Record {
	t.Helper()
	raw := read(t, name)
	var head struct{ ID model.ContainerID }
	if err := json.Unmarshal(raw, &head); err != nil {
		t.Fatal(err)
	}
	r, err := Decode(head.ID, raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestGolden: what is written now is what this version has written from the start.
// A line that changes is a migration: it needs another version.
func TestGolden(t *testing.T) {
	raw, err := Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, raw, "", "\t"); err != nil {
		t.Fatal(err)
	}
	const name = "v3-full.json"
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), append(got.Bytes(), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, name); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("written:\n%s\nwant what is in testdata/%s", got.Bytes(), name)
	}
}

// TestVersion2: what the versions before wrote of the record in the golden, with
// Docker's types as they were at API 1.56, is read as the golden is.
func TestVersion2(t *testing.T) {
	for name, lacks := range map[string]func(*Record){
		"v2-full.json": func(*Record) {},
		// Before it counted starts that failed, and before volumes took over what the image has.
		"v2-full-b03e314.json": func(r *Record) {
			r.State.Retries = 0
			for i := range r.Mounts {
				r.Mounts[i].CopyUp = false
			}
		},
	} {
		want := decoded(t, "v3-full.json")
		want.FormerName, want.FormerLinks, want.Managed = "", nil, false // no earlier version had them
		for i := range want.Mounts {
			p := &want.Mounts[i]
			p.Subpath, p.NonRecursive, p.ReadOnlyNonRecursive, p.ReadOnlyForceRecursive = "", false, false, false // nor these
		}
		lacks(&want)
		if got := decoded(t, name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: not the same: %v", name, differences(reflect.ValueOf(want), reflect.ValueOf(got), ""))
		}
	}
}

// TestVersion1: a record that the first version wrote is read.
func TestVersion1(t *testing.T) {
	r := decoded(t, "v1-running.json")
	if r.Name != "one" || r.Host.NetworkMode != "web" || !r.Host.RestartPolicy.IsAlways() || r.Config.Labels["tier"] != "front" ||
		len(r.Host.PortBindings) != 1 || !r.State.Running || r.State.Pid != 1001 || r.State.StartedAt.IsZero() {
		t.Errorf("record %+v", r)
	}
	if r.Health != nil || r.Config.Healthcheck == nil {
		t.Errorf("health %v of a record that knows of none, check %v", r.Health, r.Config.Healthcheck)
	}
}

func TestRefusals(t *testing.T) {
	for raw, want := range map[string]string{
		`{"Version":4,"ID":"1"}`: "record of container 1 has version 4: this daemon reads up to 3",
		`{"Version":3}`:          "record of container 1 is incomplete",
		`{"Version":3,"ID":"2","Name":"x","Config":{},"Host":{}}`: "record of container 1 is incomplete",
		`{"Version":3,"ID":"1","Name":"x","Config":{}}`:           "record of container 1 is incomplete",
		`nonsense`: "record of container 1: invalid character",
		`{"ID":"1","Name":"x","Config":{},"Host":{"PortBindings":{"x/tcp":[]}}}`: "record of container 1: invalid port 'x'",
	} {
		if _, err := Decode("1", []byte(raw)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", raw, err, want)
		}
	}
}

// TestEarlierReleasesSayWhyNot: one that knows version 2 can read as far as the
// version, and so refuses the record for that.
func TestEarlierReleasesSayWhyNot(t *testing.T) {
	var two struct {
		Version int
		Config  *container.Config
		Host    *container.HostConfig
		Mounts  []struct{ container.MountPoint }
		Health  *container.Health
	}
	if err := json.Unmarshal(read(t, "v3-full.json"), &two); err != nil || two.Version != 3 {
		t.Errorf("version %d, %v", two.Version, err)
	}
}

// FuzzDecode: nothing that is read is lost when it is written again.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var head struct{ ID model.ContainerID }
		if json.Unmarshal(raw, &head) != nil {
			return
		}
		r, err := Decode(head.ID, raw)
		if err != nil {
			return
		}
		first, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(r.ID, first)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := Encode(back); err != nil || !bytes.Equal(first, second) {
			t.Errorf("written again (%v):\n%s\nand before:\n%s", err, second, first)
		}
	})
}
