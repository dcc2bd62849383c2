package containers

import (
	"context"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// believed tells whether the model says that a container has the capability.
func (b *bench) believed(id string) bool {
	b.t.Helper()
	sb, ok := b.engine.Snapshot().SandboxOf(model.ContainerID(id))
	if !ok {
		b.t.Fatal("no sandbox")
	}
	return sb.NetAdmin
}

func withNetAdmin(r *CreateRequest) { r.Host.CapAdd = []string{"NET_ADMIN"} }

func TestSandboxKnowsTheCapability(t *testing.T) {
	b := newBench(t)
	if plain, able := b.create("plain", nil), b.create("able", withNetAdmin); b.believed(plain) || !b.believed(able) {
		t.Errorf("plain %t, with NET_ADMIN %t", b.believed(plain), b.believed(able))
	}
}

// TestSharedCapability: a helper with NET_ADMIN in a plain container's network
// counts as long as it runs, over a new daemon and the other's new name as well.
func TestSharedCapability(t *testing.T) {
	b := newBench(t)
	plain := b.run("plain", nil)
	helper := b.create("helper", func(r *CreateRequest) {
		withNetAdmin(r)
		r.Host.NetworkMode = "container:plain"
	})
	if b.believed(plain) {
		t.Error("a helper that does not run counts")
	}
	must(t, b.Start(context.Background(), helper))
	if !b.believed(plain) {
		t.Error("a helper that runs does not count")
	}
	must(t, b.Rename(context.Background(), plain, "other"))
	b.reopen(func() {})
	if !b.believed(plain) {
		t.Error("a new daemon takes it back")
	}
	b.end(helper, 0)
	soon(t, "a helper that has ended counts no more", func() bool { return !b.believed(plain) })
}

// TestOldSandboxes: what an earlier version recorded says nothing of capabilities;
// running containers are believed all the same.
func TestOldSandboxes(t *testing.T) {
	b := newBench(t)
	able := b.run("able", withNetAdmin)
	sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(able))
	b.reopen(func() {
		_, err := b.engine.Do(context.Background(), ops.SetNetAdmin(sb.ID, false))
		must(t, err)
	})
	if !b.believed(able) {
		t.Error("a running container is not believed after an upgrade")
	}
}
