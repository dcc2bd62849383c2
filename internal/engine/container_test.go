package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// withRecord makes a container of one network with its record.
func (r *rig) withRecord(box string) ops.Op {
	return ops.All(ops.CreateContainer(recordOf(box, box)), ops.CreateSandbox(sandbox(box), []ops.EndpointSpec{r.on("bridge")}))
}

// TestRecordsCompileNothing: what concerns a record alone asks nothing of the
// kernel.
func TestRecordsCompileNothing(t *testing.T) {
	r := newRig(t)
	r.must(t, r.withRecord("a"), ops.StartSandbox(sandboxID("a")))
	r.compiled = nil
	before, writes := r.Plan().String(), r.kernel.Writes()
	changed := recordOf("a", "a")
	changed.Document = []byte(`{"RestartCount":1}`)
	r.must(t, ops.PutContainer(changed))
	if len(r.compiled) != 1 || r.compiled[0] != 0 || r.Plan().String() != before || r.kernel.Writes() != writes {
		t.Errorf("compiled %v, wrote %d times", r.compiled, r.kernel.Writes()-writes)
	}
	r.restart(t)
	if c, ok := r.Snapshot().ContainerNamed("a"); !ok || string(c.Document) != `{"RestartCount":1}` {
		t.Errorf("after a restart the record is %s (%t)", c.Document, ok)
	}
}

// TestRecordAndSandboxChangeTogether: a store or a kernel that fails leaves both as
// they were, in memory and for the next engine.
func TestRecordAndSandboxChangeTogether(t *testing.T) {
	broken := errors.New("broken")
	failing := map[string]func(*rig){
		"store":  func(r *rig) { r.store.Fail = func() error { return broken } },
		"kernel": func(r *rig) { r.kernel.FailWrite(1) },
	}
	verbs := map[string]func(*rig) ops.Op{
		"rename": func(r *rig) ops.Op {
			return ops.All(ops.RenameContainer(recordOf("a", "new")), ops.Connect(sandboxID("a"), r.on("red")))
		},
		"remove": func(*rig) ops.Op { return ops.RemoveContainer(sandbox("a").Container) },
		"stop": func(*rig) ops.Op {
			down := recordOf("a", "a")
			down.Document = []byte(`{"ExitCode":1}`)
			return ops.All(ops.StopSandbox(sandboxID("a")), ops.PutContainer(down))
		},
		"create": func(r *rig) ops.Op {
			return ops.All(r.withRecord("b"), ops.StartSandbox(sandboxID("b")))
		},
	}
	for what, fail := range failing {
		for verb, op := range verbs {
			t.Run(verb+" "+what, func(t *testing.T) {
				r := newRig(t)
				r.must(t, r.Networks().Create(network("red")), r.withRecord("a"), ops.StartSandbox(sandboxID("a")))
				before := describe(r.Snapshot())
				fail(r)
				if _, err := r.Do(t.Context(), op(r)); err == nil {
					t.Fatal("nothing failed")
				}
				r.store.Fail = nil
				if got := describe(r.Snapshot()); got != before {
					t.Errorf("the model is\n%s\nbefore it was\n%s", got, before)
				}
				r.restart(t)
				if got := describe(r.Snapshot()); got != before {
					t.Errorf("after a restart the model is\n%s\nbefore it was\n%s", got, before)
				}
				r.must(t, op(r))
				checkRecords(t, r.Snapshot())
			})
		}
	}
}

// TestNameOfARefusedContainerIsFree: who is refused by the kernel has no name.
func TestNameOfARefusedContainerIsFree(t *testing.T) {
	r := newRig(t)
	r.kernel.FailWrite(1)
	if _, err := r.Do(t.Context(), ops.All(r.withRecord("a"), ops.StartSandbox(sandboxID("a")))); err == nil {
		t.Fatal("nothing failed")
	}
	r.must(t, ops.CreateContainer(model.Container{ID: "other", Name: "a", Document: []byte(`{}`)}))
	_, err := r.Do(t.Context(), r.withRecord("a"))
	if model.KindOf(err) != model.Conflict || !strings.Contains(err.Error(), `"/a" is already in use by container "other"`) {
		t.Errorf("error %v", err)
	}
}
