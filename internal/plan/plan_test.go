package plan_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/plan/plantest"
	"github.com/linkspan/linkspan/internal/state"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compiles what each story in testdata asks for and compares every
// row with the one written down. A story is a txtar archive: "ops" holds one
// request a line, "desired" the rows, "refused" the errors.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sections := map[string]*[]byte{}
			for i := range archive.Files {
				sections[archive.Files[i].Name] = &archive.Files[i].Data
			}
			want, refused := tell(t, string(*sections["ops"]))
			for name, got := range map[string]string{"desired": want, "refused": refused} {
				switch section := sections[name]; {
				case section == nil && got != "" && !*update:
					t.Errorf("the story has no %q, got:\n%s", name, got)
				case section != nil && *update:
					*section = []byte(got)
				case section != nil && string(*section) != got:
					t.Errorf("%s:\n%s\nwant:\n%s", name, got, *section)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// tell runs the requests of a story and returns the rows and the errors.
func tell(t *testing.T, story string) (rows, refused string) {
	t.Helper()
	in, refused := plantest.Play(t, all.Drivers(), story)
	want, err := in.Full()
	if err != nil {
		t.Fatal(err)
	}
	older := in
	older.Snapshot = asOlder(t, in.Snapshot, in.Facts)
	rowsOfOlder, err := older.Full()
	if err != nil || rowsOfOlder.String() != want.String() {
		t.Errorf("of the records of an older release (%v):\n%s\nwant:\n%s", err, rowsOfOlder, want)
	}
	return want.String(), refused
}

// asOlder returns the snapshot as it is after it was written by a release that did not
// say where published ports lead, and settled by this one.
func asOlder(t *testing.T, s *state.Snapshot, f facts.Set) *state.Snapshot {
	t.Helper()
	tx := ops.Begin(s, f, all.Drivers())
	for sb := range s.Sandboxes() {
		sb.Ports, sb.Routed = slices.Clone(sb.Ports), nil
		for i := range sb.Ports {
			sb.Ports[i].Endpoint = ""
		}
		tx.PutSandbox(sb)
	}
	if err := ops.SettlePublished()(tx); err != nil {
		t.Fatal(err)
	}
	s, _ = tx.Commit()
	return s
}

// TestHostsOwnNames: no container speaks for the host, by whichever address or
// interface it is known.
func TestHostsOwnNames(t *testing.T) {
	in := plan.Input{Snapshot: state.Empty(), Drivers: all.Drivers(), Facts: facts.Set{Host: facts.Host{
		Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, MACs: []string{"02:00:00:00:ff:01"},
	}}}
	rows, err := in.Compile("host/")
	want := "policy identity of host [02:00:00:00:ff:01] [192.0.2.1 2001:db8::1 fe80::ff:fe00:ff01]"
	if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]) != want {
		t.Errorf("%v, %v", rows, err)
	}
}
