package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// TestOwnInterfacesOfAContainer: a container has made an interface of its own. What
// it is connected to gets the next name that is free.
func TestOwnInterfacesOfAContainer(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(network("web")), r.Networks().Create(network("back")),
		ops.CreateSandbox(sandbox("c"), []ops.EndpointSpec{r.on("web")}), ops.StartSandbox(sandboxID("c")))
	space := model.NamespaceOf(sandbox("c").Container)
	r.kernel.Occupy(space, "eth1")
	r.kernel.Occupy(space, "eth2")
	r.must(t, ops.Connect(sandboxID("c"), r.on("back")))
	e, ok := r.Snapshot().EndpointAt(sandboxID("c"), network("back").ID)
	if !ok || e.Interface != "eth3" {
		t.Errorf("endpoint %+v", e)
	}
	if report, err := r.Check(t.Context()); err != nil || len(report.Drift) != 0 {
		t.Errorf("after it: %q, %v", report.Drift, err)
	}
	r.must(t, ops.Disconnect(sandboxID("c"), "back", false))

	// A name that was asked for is that or none.
	before := r.kernel.String()
	spec := r.on("back")
	spec.DriverOpts = map[string]string{"com.docker.network.endpoint.ifname": "eth2"}
	_, err := r.Do(t.Context(), ops.Connect(sandboxID("c"), spec))
	if err == nil || !strings.Contains(err.Error(), "error renaming interface") || !strings.Contains(err.Error(), "file exists") ||
		!strings.Contains(err.Error(), "container c ") || model.KindOf(err) != model.Unfit {
		t.Errorf("a taken name: %v", err)
	}
	if after := r.kernel.String(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// TestFailuresNameWhatUsersKnow: an error is about a container and a network, and
// not about the owner of a row.
func TestFailuresNameWhatUsersKnow(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(network("web")))
	r.must(t, ops.CreateSandbox(sandbox("c"), []ops.EndpointSpec{r.on("web")}))
	told := map[string]bool{}
	for n := 1; ; n++ {
		r.kernel.FailWrite(n)
		_, err := r.Do(t.Context(), ops.StartSandbox(sandboxID("c")))
		if !r.kernel.Failed() {
			break
		}
		var failure *desired.Failure
		if !errors.As(err, &failure) {
			t.Fatalf("write %d: %v", n, err)
		}
		for line := range strings.Lines(err.Error()) {
			who, _, _ := strings.Cut(line, ": ")
			told[who] = true
		}
	}
	if len(told) != 2 || !told["container c"] || !told["container c on network web"] {
		t.Errorf("errors are about %v", told)
	}
}
