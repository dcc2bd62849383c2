package dockerapi

import (
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// TestHealthByVersion: what a version of the API did not have is neither taken nor
// shown.
func TestHealthByVersion(t *testing.T) {
	b := newBench(t)
	body := `{"Image":"x","Healthcheck":{"Test":["CMD","true"],"Interval":1000000000,"StartInterval":2000000000}}`
	for path, want := range map[string]time.Duration{"/v1.43": 0, "/v1.44": 2 * time.Second} {
		b.want(t, 201, "", "POST", path+"/containers/create", body)
		if got := b.create.Config.Healthcheck; got.Interval != time.Second || got.StartInterval != want {
			t.Errorf("%s: %+v", path, got)
		}
	}
	b.containers = []container.Summary{{ID: "c1", Health: &container.HealthSummary{Status: container.Healthy}}}
	b.want(t, 200, `"Health":{"Status":"healthy","FailingStreak":0}`, "GET", "/v1.52/containers/json")
	b.containers = []container.Summary{{ID: "c1", Health: &container.HealthSummary{Status: container.Healthy}}}
	if w := b.ask("GET", "/v1.51/containers/json", ""); strings.Contains(w.Body.String(), "Health") {
		t.Errorf("1.51 shows %s", w.Body)
	}
}
