package containers

import (
	"os"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/containerview"
	"github.com/linkspan/linkspan/internal/model"
)

// TestRecordOfVersion1: a record that the first version wrote has the health that
// it knows nothing of.
func TestRecordOfVersion1(t *testing.T) {
	raw, err := os.ReadFile("../containerrecord/testdata/v1-running.json")
	must(t, err)
	const id = model.ContainerID("b6c11dabede87f47759cacb2658a8179791caab739a9ec6a8b7993be787e8828")
	r, err := decodeRecord(id, raw)
	must(t, err)
	if got := containerview.Health(containerrecord.Record(r)).Status; got != container.NoHealthcheck {
		t.Errorf("health %s of a record that knows of none", got)
	}
	if _, checked := containerspec.HealthcheckOf(r.Config); !checked {
		t.Error("its health check is lost")
	}
}
