package bolt

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/store"
	"github.com/linkspan/linkspan/internal/store/storetest"
)

func opened(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sample returns a model with a record of every class.
func sample() (*state.Snapshot, []state.Change) {
	tx := state.Begin(state.Empty(), facts.Set{})
	tx.PutHost(model.Host{BootID: "boot", Forwarding4: true})
	tx.PutNetwork(model.Network{ID: "n1", Name: "web", IPv4: true, Created: time.Unix(1, 2).UTC(), Labels: map[string]string{"a": "b"},
		IPAM: model.IPAM{Pools: []model.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1"),
			Aux: map[string]netip.Addr{"r": netip.MustParseAddr("10.0.0.9")}}}}})
	tx.PutContainer(model.Container{ID: "c1", Name: "box", Document: []byte(`{"Version":2,"Name":"box"}`)})
	tx.PutSandbox(model.Sandbox{ID: "s1", Container: "c1", Name: "box", Up: true, Generation: 3,
		Pending: []model.EndpointSpec{{ID: "e9", Network: "gone", IPv4: netip.MustParseAddr("10.0.0.7")}}})
	tx.PutEndpoint(model.Endpoint{ID: "e1", Network: "n1", Sandbox: "s1", Up: true, Addr4: netip.MustParseAddr("10.0.0.2"), Aliases: []string{"db"}})
	tx.PutCursor("n1", netip.MustParseAddr("10.0.0.2"))
	return tx.Commit()
}

// records lists a snapshot.
func records(s *state.Snapshot) []any {
	out := []any{s.Revision, s.Host(), s.Cursor("n1", model.IPv4)}
	for n := range s.Networks() {
		out = append(out, n)
	}
	for c := range s.Containers() {
		out = append(out, c)
	}
	for sb := range s.Sandboxes() {
		out = append(out, sb)
	}
	for e := range s.Endpoints() {
		out = append(out, e)
	}
	return out
}

func TestWhatIsCommittedIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "state.db")
	want, changes := sample()
	s := opened(t, path)
	if err := s.Commit(t.Context(), state.Commit{Revision: want.Revision, Changes: changes}); err != nil {
		t.Fatal(err)
	}
	instance := s.Instance()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, path)
	defer s.Close()
	got, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(records(got), records(want)) {
		t.Errorf("loaded:\n%+v\nwant:\n%+v", records(got), records(want))
	}
	if s.Instance() != instance || len(instance) != 32 {
		t.Errorf("instance %q, want %q again", s.Instance(), instance)
	}
	if sb, ok := got.SandboxOf("c1"); !ok || sb.Name != "box" {
		t.Error("the index was not built again")
	}
	if c, ok := got.ContainerNamed("box"); !ok || c.ID != "c1" {
		t.Error("the index of names was not built again")
	}
	if err := s.Commit(t.Context(), state.Commit{Base: want.Revision, Revision: want.Revision + 1, Changes: state.Invert(changes)}); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Load(t.Context()); len(slices.Collect(got.Networks())) != 0 || got.Revision != want.Revision+1 {
		t.Errorf("after the reverse: %+v", records(got))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := opened(t, path)
	err := s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keySchema, binary.BigEndian.AppendUint64(nil, store.Schema+1))
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	before, _ := os.ReadFile(path)
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "written by a newer version of the engine (schema 3, this one knows 2)") {
		t.Errorf("error %v", err)
	}
	if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
		t.Error("a refused store was changed")
	}
}

func TestFileInUseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := opened(t, path)
	defer s.Close()
	if _, err := Open(path); model.KindOf(err) != model.Conflict || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("error %v", err)
	}
}

func TestDamagedRecordIsNamed(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "state.db"))
	defer s.Close()
	err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(state.KindNetwork)).Put([]byte("n1"), []byte("{")) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(context.Background()); err == nil || !strings.Contains(err.Error(), "network n1") {
		t.Errorf("error %v, want one that names the record", err)
	}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store {
		s := opened(t, filepath.Join(t.TempDir(), "state.db"))
		t.Cleanup(func() { s.Close() })
		return s
	})
}
