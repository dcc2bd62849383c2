package swarm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/linkspan/linkspan/internal/model"
)

// TestFind: an ID before a name, a name before the beginning of an ID.
func TestFind(t *testing.T) {
	all := map[string]string{"aaa": "web", "aab": "aaa", "web1": "other", "bbb": "twin", "bbc": "twin"} // by ID
	l := Lookup[string]{
		Kind: "thing",
		Get: func(id string) (string, error) {
			if _, ok := all[id]; !ok {
				return "", errors.New("not found")
			}
			return id, nil
		},
		List: func(names, prefixes []string) (out []string, err error) {
			for id, name := range all {
				if slices.Contains(names, name) || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(id, p) }) {
					out = append(out, id)
				}
			}
			return out, nil
		},
	}
	for ref, want := range map[string]string{
		"aaa": "aaa", "web": "aaa", "web1": "web1", "other": "web1", "bbc": "bbc",
		"aa": "thing aa is ambiguous (2 matches found)", "twin": "thing twin is ambiguous (2 matches found)", "none": "thing none not found",
	} {
		got, err := Find(l, ref)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
}

// TestFailuresHaveDockersKinds: every code of gRPC, as Docker maps it to a status; the
// text stays swarmkit's.
func TestFailuresHaveDockersKinds(t *testing.T) {
	want := map[codes.Code]model.Kind{
		codes.InvalidArgument: model.Invalid, codes.FailedPrecondition: model.Invalid, codes.OutOfRange: model.Invalid, codes.NotFound: model.NotFound,
		codes.AlreadyExists: model.Conflict, codes.PermissionDenied: model.Forbidden, codes.Unauthenticated: model.Unauthorized,
		codes.Unimplemented: model.NotImplemented, codes.Unavailable: model.Unavailable, codes.Unknown: model.Unfit,
	}
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		got := failure(fmt.Errorf("wrapped: %w", status.Error(c, "words")))
		if model.KindOf(got) != want[c] || !strings.HasSuffix(got.Error(), "desc = words") {
			t.Errorf("%s: %v of kind %d", c, got, model.KindOf(got))
		}
	}
	if got := failure(errors.New("plain")); model.KindOf(got) != model.Unfit || got.Error() != "plain" {
		t.Error(got)
	}
	own := model.Errorf(model.Conflict, "own")
	if got := failure(own); got != error(own) || failure(nil) != nil {
		t.Error(got)
	}
	if got := failure(errors.New("node certificate - x - has expired: certificate has expired")); model.KindOf(got) != model.Unavailable || !strings.HasPrefix(got.Error(), expired) {
		t.Error(got)
	}
}

// TestANodeThatIsNone answers all that asks for a manager in Docker's words.
func TestANodeThatIsNone(t *testing.T) {
	var n *Node
	if s := n.State(); s.Status != "inactive" || s.Manager || s.Control {
		t.Errorf("%+v", s)
	}
	for name, err := range map[string]error{
		"inspect": func() error { _, err := n.Inspect(t.Context()); return err }(),
		"nodes":   func() error { _, err := n.Nodes(t.Context(), NodeFilter{}); return err }(),
		"network": n.RemoveNetwork(t.Context(), "x"),
	} {
		if err == nil || err.Error() != notInSwarm || model.KindOf(err) != model.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.Attach(t.Context(), "c", "net", nil); err == nil {
		t.Error("a place is given")
	}
}

func FuzzParseUnlockKey(f *testing.F) {
	f.Add("SWMKEY-1-7c37Cc8654o6p38HnroywCi19pllOnGtbdZEgtKxZu8")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := ParseUnlockKey(text); err != nil && model.KindOf(err) != model.Invalid || err == nil && len(key) == 0 {
			t.Errorf("%q: %x, %v", text, key, err)
		}
	})
}
