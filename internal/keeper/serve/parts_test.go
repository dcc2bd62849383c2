package serve

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

func nameRow(i int) wire.Row {
	return wire.Row{Owner: "o", Name: &desired.Name{Network: "n", Name: fmt.Sprint("c", i), Endpoint: "e"}}
}

// TestRowsInParts: nothing is done before the last part, two requests at a time do not
// mix, and those that were given up are forgotten.
func TestRowsInParts(t *testing.T) {
	k := serve(t, path(t), nil)
	c := dial(t, k.path)
	part := func(transfer uint64, row int, more bool) (writes int) {
		t.Helper()
		a := ask(t, c, wire.VerbResync, wire.Rows{Rows: []wire.Row{nameRow(row)}, Transfer: transfer, More: more})
		if a.Error != nil {
			t.Fatal(a.Error.Text)
		}
		var r wire.Report
		if !more {
			if err := json.Unmarshal(a.Body, &r); err != nil {
				t.Fatal(err)
			}
		}
		return r.Writes
	}
	for id := uint64(1); id <= 2; id++ {
		part(id, int(id), true)
	}
	if said := k.heard(); len(said) != 0 {
		t.Fatalf("done before the last part: %q", said)
	}
	for id := uint64(1); id <= 2; id++ {
		part(id, 10+int(id), true)
		if n := part(id, 20+int(id), false); n != 3 {
			t.Errorf("transfer %d: %d rows", id, n)
		}
	}
	for id := uint64(10); id < 100; id++ {
		part(id, 1, true)
	}
	if n := part(99, 2, false); n != 2 {
		t.Errorf("after many that were given up: %d rows", n)
	}
}

// TestHandOverInParts: a successor that knows parts gets them; one of an earlier release
// gets all at once, as then.
func TestHandOverInParts(t *testing.T) {
	whole := wire.Inventory{Descriptors: 0}
	for i := range 5 {
		row := nameRow(i)
		row.Name.Name = strings.Repeat("x", wire.PartSize/2) + row.Name.Name
		whole.Rows = append(whole.Rows, row)
		whole.Outputs = append(whole.Outputs, wire.HandedOutput{Output: model.Output{Container: model.ContainerID(fmt.Sprint("c", i))}})
	}
	k := serve(t, path(t), nil)
	k.mu.Lock()
	k.inventory = &whole
	k.mu.Unlock()
	c := dial(t, k.path)
	if err := c.Send(wire.Request{ID: 1, Verb: wire.VerbHandOver}); err != nil {
		t.Fatal(err)
	}
	var a wire.Answer
	if _, err := c.Receive(&a); err != nil || a.Error != nil {
		t.Fatalf("%v, %v", a.Error, err)
	}
	var got wire.Inventory
	if err := json.Unmarshal(a.Body, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 5 || len(got.Outputs) != 5 || got.More {
		t.Errorf("an earlier successor: %d rows, %d outputs, more %t", len(got.Rows), len(got.Outputs), got.More)
	}
	c.Close() // it breaks off: the old one serves on
	soon(t, "it serves on", func() bool {
		a := ask(t, dial(t, k.path), wire.VerbOpen, model.Output{})
		return a.Error == nil
	})
	i, err := Inherit(k.path)
	if err != nil {
		t.Fatal(err)
	}
	if len(i.inventory.Rows) != 5 || len(i.inventory.Outputs) != 5 || i.inventory.More {
		t.Errorf("%d rows, %d outputs, more %t", len(i.inventory.Rows), len(i.inventory.Outputs), i.inventory.More)
	}
	if err := i.Taken(); err != nil {
		t.Fatal(err)
	}
	k.ended(t)
}
