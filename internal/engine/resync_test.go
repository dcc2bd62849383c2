package engine

import (
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ops"
)

// TestPlansFollowTheUplink changes what the way out takes: containers that are
// there follow at the next look, and at no other.
func TestPlansFollowTheUplink(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(network("web")))
	r.must(t, ops.CreateSandbox(sandbox("a"), []ops.EndpointSpec{r.on("web")}), ops.StartSandbox(sandboxID("a")))
	usual := r.kernel.String()
	look := func(size int) {
		t.Helper()
		r.options.Observer = fixedFacts{Packets: facts.Packets{Large4: true, Large6: true, Out4: size, Out6: size}}
		if err := r.Observe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if full := r.full(t); r.Plan().String() != full {
			t.Errorf("the plan:\n%s\nplanned at once:\n%s", r.Plan(), full)
		}
	}

	look(131072)
	if got := strings.Count(r.kernel.String(), "gso_ipv4_max_size 131072 gso_max_size 131072"); got != 1 { // the container's end
		t.Errorf("%d links take what the way out takes:\n%s", got, r.kernel)
	}
	writes := r.kernel.Writes()
	look(131072)
	if got := r.kernel.Writes() - writes; got != 0 {
		t.Errorf("%d writes though nothing has changed", got)
	}

	// What the kernel refuses at the moment, it is given again later.
	r.kernel.FailWrite(1)
	look(65536)
	if !r.kernel.Failed() {
		t.Fatal("nothing was written")
	}
	if _, err := r.Resync(t.Context()); err != nil || r.kernel.String() != usual {
		t.Errorf("after a resync (%v):\n%s\nwant:\n%s", err, r.kernel, usual)
	}
}
