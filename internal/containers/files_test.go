package containers

import (
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// TestFilesBeforeTheFirstStart: who looks at the files of a container that never ran has
// them made, without a container; the start makes one of them, also after a restart of the
// daemon, and nothing that is begun meanwhile gets between.
func TestFilesBeforeTheFirstStart(t *testing.T) {
	b := newBench(t)
	id := model.ContainerID(b.create("one", nil))
	view := func() (model.FileView, func()) {
		t.Helper()
		c, err := (&drafts{registry: b.registry, announcer: b.announcer, runtime: b.runtime, specs: b.specs, dirs: b.dirs}).container("one")
		must(t, err)
		v, done, err := c.View(ctx)
		must(t, err)
		return v, done
	}
	v, done := view()
	if v.Pid != 0 || len(v.Mounts) != 3 || !b.runtime.drafts[id] || len(b.runtime.made) != 0 {
		t.Fatalf("%+v of %v, made %v", v, b.runtime.drafts, b.runtime.made)
	}
	if entry, err := b.find("one"); err != nil || len(entry.opLock) != 1 {
		t.Errorf("others may change it meanwhile: %v", err)
	}
	done()
	b.reopen(func() {})
	if _, done = view(); len(b.runtime.drafts) != 1 {
		t.Error("its files are forgotten with a restart")
	}
	done()
	must(t, b.Start(ctx, "one"))
	if len(b.runtime.drafts) != 0 || len(b.runtime.made) != 1 {
		t.Errorf("drafts %v, made %v", b.runtime.drafts, b.runtime.made)
	}
	v, done = view()
	defer done()
	if entry, err := b.find("one"); v.Pid == 0 || err != nil || len(entry.opLock) != 0 {
		t.Errorf("one that runs is held up, or not seen through: %+v, %v", v, err)
	}
}
