package wire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

func TestSplit(t *testing.T) {
	var items []string
	for i := range 100 {
		items = append(items, strings.Repeat("x", i))
	}
	for _, size := range []int{1, 50, 1000, 1 << 20} {
		var back []string
		parts, last := 0, false
		for part, more := range Split(items, size) {
			if len(part) == 0 || last {
				t.Fatalf("size %d: part %d has %d items, after the last: %t", size, parts, len(part), last)
			}
			length := 0
			for _, s := range part {
				length += len(s) + 3
			}
			if length > size+1 && len(part) > 1 {
				t.Errorf("size %d: a part of %d bytes", size, length)
			}
			back, last = append(back, part...), !more
			parts++
		}
		if !last || !reflect.DeepEqual(back, items) {
			t.Errorf("size %d: %d of %d items in %d parts, the last was said: %t", size, len(back), len(items), parts, last)
		}
	}
	parts := 0
	for part, more := range Split([]int(nil), 10) {
		if parts++; len(part) != 0 || more {
			t.Errorf("of nothing: %v, %t", part, more)
		}
	}
	if parts != 1 {
		t.Errorf("nothing takes %d parts", parts)
	}
}

func TestInventoryInParts(t *testing.T) {
	whole := Inventory{Descriptors: 7}
	for i := range 50 {
		whole.Rows = append(whole.Rows, Row{Owner: "o", Name: &desired.Name{Network: "n", Name: fmt.Sprint("c", i)}})
		whole.Outputs = append(whole.Outputs, HandedOutput{Output: model.Output{Container: model.ContainerID(fmt.Sprint(i))}})
	}
	for what, i := range map[string]Inventory{
		"both": whole, "rows": {Rows: whole.Rows, Descriptors: 7}, "outputs": {Outputs: whole.Outputs, Descriptors: 7}, "neither": {Descriptors: 7},
	} {
		for _, size := range []int{1, 500, 1 << 20} {
			var back Inventory
			first, more := true, true
			for part := range i.Parts(size) {
				if !more {
					t.Fatalf("%s: a part after the last", what)
				}
				raw, err := json.Marshal(part)
				if err != nil {
					t.Fatal(err)
				}
				if len(raw) > size+1000 {
					t.Errorf("%s: a part of %d bytes, not %d", what, len(raw), size)
				}
				if more = part.More; first {
					back, first = Inventory{Descriptors: part.Descriptors}, false
				}
				back.Add(part)
			}
			if more || !reflect.DeepEqual(back, i) {
				t.Errorf("%s in parts of %d: %d rows, %d outputs, %d descriptors, more %t",
					what, size, len(back.Rows), len(back.Outputs), back.Descriptors, more)
			}
		}
	}
}

func TestLongReportIsCut(t *testing.T) {
	r := desired.Report{Writes: 3}
	for range 100 {
		r.Drift = append(r.Drift, strings.Repeat("x", 100_000))
	}
	got := PackReport(r)
	if n := len(got.Drift); n != 42 || got.Drift[n-1] != "59 more differences" || got.Writes != 3 {
		t.Errorf("%d lines, the last is %.50q", n, got.Drift[n-1])
	}
	if len(r.Drift) != 100 || len(r.Drift[41]) != 100_000 {
		t.Error("the report itself was changed")
	}
	short := desired.Report{Drift: []string{"a", "b"}, Writes: 2}
	if got := PackReport(short); !reflect.DeepEqual(desired.Report(got), short) {
		t.Errorf("a short one: %+v", got)
	}
}
