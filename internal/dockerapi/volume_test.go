package dockerapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/volume"

	"github.com/linkspan/linkspan/internal/localvolume"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/volumes"
)

// newVolumes returns a hub of volumes in a folder of the test's, in which "used" is in use.
func newVolumes(t *testing.T, events volumes.Publisher) *volumes.Manager {
	t.Helper()
	disk, err := localvolume.Open(t.TempDir(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := volumes.New(volumes.Options{Store: disk, Mounter: disk, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestVolumes: the door's words and status codes, as dockerd's.
func TestVolumes(t *testing.T) {
	b := newBench(t)
	b.want(t, 200, `{"Volumes":[],"Warnings":null}`, "GET", "/volumes")
	b.want(t, 404, "get x: no such volume", "GET", "/volumes/x")
	b.want(t, 404, "get x: no such volume", "DELETE", "/volumes/x")
	b.want(t, 204, "", "DELETE", "/volumes/x?force=1")
	b.want(t, 200, `{"VolumesDeleted":[],"SpaceReclaimed":0}`, "POST", "/volumes/prune")
	b.want(t, 201, `"Labels":{"a":"1"},`, "POST", "/volumes/create", `{"Name":"photos","Labels":{"a":"1"}}`)
	b.want(t, 201, `"Options":null,"Scope":"local"`, "POST", "/volumes/create", `{"Name":"photos"}`)
	b.want(t, 201, `"Labels":{"com.docker.volume.anonymous":""}`, "POST", "/volumes/create", `{}`)
	b.want(t, 400, `create x: volume name is too short, names should be at least two alphanumeric characters`, "POST", "/volumes/create", `{"Name":"x"}`)
	b.want(t, 400, `create a/b: \"a/b\" includes invalid characters for a local volume name`, "POST", "/volumes/create", `{"Name":"a/b"}`)
	b.want(t, 400, `create ..: \"..\" includes invalid characters`, "POST", "/volumes/create", `{"Name":".."}`)
	b.want(t, 404, `create xy: error looking up volume plugin nfs: plugin \"nfs\" not found`, "POST", "/volumes/create", `{"Name":"xy","Driver":"nfs"}`)
	b.want(t, 400, `create xy: invalid option: \"speed\"`, "POST", "/volumes/create", `{"Name":"xy","DriverOpts":{"speed":"1"}}`)
	b.want(t, 400, `create xy: missing required option: \"device\"`, "POST", "/volumes/create", `{"Name":"xy","DriverOpts":{"type":"tmpfs"}}`)
	b.want(t, 503, `not a swarm manager`, "POST", "/volumes/create", `{"Name":"xy","ClusterVolumeSpec":{}}`)
	b.want(t, 503, `volume update only valid for cluster volumes, but swarm is unavailable`, "PUT", "/volumes/photos?version=1", `{}`)
	b.want(t, 400, "invalid filter 'size'", "GET", `/volumes?filters={"size":["1"]}`)
	b.want(t, 400, "invalid filter 'dangling=[maybe]'", "GET", `/volumes?filters={"dangling":["maybe"]}`)
	b.want(t, 400, "invalid filter 'until'", "POST", `/volumes/prune?filters={"until":["1h"]}`)
}

// TestVolumesInUse: who has a volume is told, and it stays.
func TestVolumesInUse(t *testing.T) {
	b := newBench(t)
	hub := b.options.Volumes.(*volumes.Manager)
	v, err := hub.Use(t.Context(), "c0ffee", model.VolumeRequest{Name: "used"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.Mountpoint, "file"), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	b.want(t, 409, `{"message":"remove used: volume is in use - [c0ffee]"}`, "DELETE", "/volumes/used")
	b.want(t, 409, `volume is in use`, "DELETE", "/volumes/used?force=1")
	b.want(t, 200, `{"VolumesDeleted":[],"SpaceReclaimed":0}`, "POST", `/volumes/prune?filters={"all":["true"]}`)
	b.want(t, 200, `"VolumeUsage":{"ActiveCount":1,"Items":[{`, "GET", "/v1.53/system/df?type=volume&verbose=1")
	b.want(t, 200, `"UsageData":{"RefCount":1,"Size":1000}`, "GET", "/v1.50/system/df?type=volume")
	if err := hub.Release(t.Context(), "c0ffee", nil); err != nil {
		t.Fatal(err)
	}
	b.want(t, 200, `{"VolumesDeleted":[],"SpaceReclaimed":0}`, "POST", "/volumes/prune")
	b.want(t, 200, `{"VolumesDeleted":["used"],"SpaceReclaimed":1000}`, "POST", "/v1.41/volumes/prune") // was not asked about names
	var said []string
	for _, e := range b.published {
		said = append(said, string(e.Type)+" "+string(e.Action)+" "+e.Actor.ID)
	}
	if got := strings.Join(said, "; "); got != "volume create used; volume prune ; volume prune ; volume destroy used; volume prune " {
		t.Error(got)
	}
}

// TestVolumesAreListed: sorted, and as a client of the module of Docker's types reads them.
func TestVolumesAreListed(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"two", "one"} {
		b.want(t, 201, "", "POST", "/volumes/create", `{"Name":"`+name+`"}`)
	}
	var list volume.ListResponse
	if err := json.Unmarshal(b.ask("GET", "/volumes", "").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Volumes) != 2 || list.Volumes[0].Name != "one" || list.Volumes[1].Mountpoint == "" || list.Volumes[1].CreatedAt == "" {
		t.Errorf("%+v", list.Volumes)
	}
}
