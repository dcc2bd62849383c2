package desired

import (
	"errors"
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func replace(t *testing.T, s State, owner Owner, rows ...Row) State {
	t.Helper()
	next, err := s.Replace(owner, rows)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestReplaceIsExact(t *testing.T) {
	var s State
	s = replace(t, s, "a", Namespace{Name: "one"}, Link{Name: "br0", Type: LinkBridge})
	s = replace(t, s, "ab", Namespace{Name: "two"}) // an owner whose name begins like another's
	before := s.String()
	next := replace(t, s, "a", Namespace{Name: "three"})
	if s.String() != before {
		t.Error("a state changed")
	}
	if got, want := next.String(), "a\tnamespace three\nab\tnamespace two\n"; got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if next = replace(t, next, "a"); next.Len() != 1 {
		t.Errorf("%d rows, want the other owner's one", next.Len())
	}
}

func TestTwoOwnersOfOneThingConflict(t *testing.T) {
	s := replace(t, State{}, "a", Namespace{Name: "one"})
	_, err := s.Replace("b", []Row{Namespace{Name: "one"}})
	if model.KindOf(err) != model.Conflict || err.Error() != "one: wanted by a and by b" {
		t.Errorf("error %v", err)
	}
}

func TestDiffVisitsOnlyTheOwnersGiven(t *testing.T) {
	prev := replace(t, replace(t, State{}, "a", Sysctl{Path: "x", Value: "1"}, Namespace{Name: "gone"}), "b", Namespace{Name: "b"})
	next := replace(t, replace(t, prev, "a", Sysctl{Path: "x", Value: "2"}, Namespace{Name: "new"}), "b")
	var got []string
	for _, d := range Diff(prev, next, []Owner{"a"}) {
		got = append(got, fmt.Sprint(d.Old, " -> ", d.New))
	}
	want := []string{"<nil> -> namespace new", "sysctl host x = 1 -> sysctl host x = 2", "namespace gone -> <nil>"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if d := Diff(next, next, []Owner{"a", "b"}); len(d) != 0 {
		t.Errorf("a state differs from itself: %v", d)
	}
}

func TestDiffFollowsARowToItsNewOwner(t *testing.T) {
	prev := replace(t, State{}, "a", Namespace{Name: "one"})
	next := replace(t, replace(t, prev, "a"), "b", Namespace{Name: "one"})
	deltas := Diff(prev, next, []Owner{"a", "b"})
	if len(deltas) != 1 || deltas[0].Owner != "b" || deltas[0].Old == nil || deltas[0].New == nil {
		t.Errorf("deltas %+v, want one change and no removal", deltas)
	}
	if back := deltas[0].Invert(); back.Old != deltas[0].New || back.New != deltas[0].Old {
		t.Errorf("inverted %+v", back)
	}
}

func TestFailuresAreFoundInJoinedErrors(t *testing.T) {
	one := &Failure{Owner: "a", Key: Namespace{Name: "x"}.Key(), Err: errors.New("no")}
	two := &Failure{Owner: "b", Key: Namespace{Name: "y"}.Key(), Err: ErrLost}
	err := fmt.Errorf("turn: %w", errors.Join(one, errors.Join(errors.New("plain"), two)))
	if got := Failures(err); len(got) != 2 || got[0] != one || got[1] != two {
		t.Errorf("found %v", got)
	}
	if !errors.Is(err, ErrLost) {
		t.Error("the cause is hidden")
	}
	if got := Failures(errors.New("plain")); got != nil {
		t.Errorf("found %v in a plain error", got)
	}
}
