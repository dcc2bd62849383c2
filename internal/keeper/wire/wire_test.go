package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// pair returns two ends of a connection.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = Dial(path); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	b = NewConn(c)
	t.Cleanup(func() { a.Close(); b.Close(); a.Drop(); b.Drop() })
	return a, b
}

func TestFramesAndDescriptors(t *testing.T) {
	a, b := pair(t)
	const messages = 40
	failed := make(chan error, 1)
	go func() {
		for i := range messages {
			var files []*os.File
			for range i % 3 {
				r, w, err := os.Pipe()
				if err != nil {
					failed <- err
					return
				}
				fmt.Fprint(w, i)
				w.Close()
				files = append(files, r)
			}
			// Some are larger than what is read at once.
			if err := a.Send(Request{ID: uint64(i), Body: json.RawMessage(`"` + strings.Repeat("x", i*5000) + `"`)}, files...); err != nil {
				failed <- err
				return
			}
			CloseAll(files)
		}
		failed <- a.Close()
	}()
	for i := range messages {
		var r Request
		files, err := b.Receive(&r)
		if err != nil || r.ID != uint64(i) || len(r.Body) != i*5000+2 || len(files) != i%3 {
			t.Fatalf("message %d: id %d, %d bytes, %d descriptors, %v", i, r.ID, len(r.Body), len(files), err)
		}
		for _, f := range files {
			text, err := io.ReadAll(f)
			if string(text) != fmt.Sprint(i) {
				t.Errorf("descriptor of message %d reads %q, %v", i, text, err)
			}
		}
		CloseAll(files)
	}
	var r Request
	if _, err := b.Receive(&r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

func TestBadFramesAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ raw, want string }{
		"too large":         {"\xff\xff\xff\xff\x00\x00", "too large"},
		"no descriptors":    {"\x00\x00\x00\x02\x00\x01{}", "with 0 descriptors instead of 1"},
		"not JSON":          {"\x00\x00\x00\x02\x00\x00x}", "unpack message"},
		"half a header":     {"\x00\x00", "unexpected EOF"},
		"half a body":       {"\x00\x00\x00\x09\x00\x00{}", "unexpected EOF"},
		"too many promised": {"\x00\x00\x00\x02\xff\xff{}", "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			io.WriteString(a, c.raw)
			a.Close()
			var r Request
			if _, err := b.Receive(&r); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func rows() []desired.Row {
	return []desired.Row{
		desired.Name{Network: "n1", NetworkName: "web", Name: "c1", Endpoint: "e1", Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("fd00::2")}, Primary: true},
		desired.Resolver{Namespace: "0123456789ab", Networks: []model.NetworkID{"n1"}, Links: []desired.DNSLink{{}}, Servers: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Internal: true, NDots: 1},
	}
}

func TestRowsSurvive(t *testing.T) {
	want, err := desired.State{}.Replace("endpoint/e1", rows())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(Rows{Rows: PackState(want)})
	if err != nil {
		t.Fatal(err)
	}
	var got Rows
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	state, err := UnpackState(got.Rows)
	if err != nil || state.String() != want.String() {
		t.Errorf("%v\ngot\n%s\nwant\n%s", err, state, want)
	}
	var deltas []desired.Delta
	for _, r := range rows() {
		deltas = append(deltas, desired.Delta{Owner: "o", New: r}, desired.Delta{Owner: "o", Old: r}, desired.Delta{Owner: "o", Old: r, New: r})
	}
	back, err := UnpackDeltas(PackDeltas(append(deltas, desired.Delta{New: desired.Namespace{Name: "x"}})))
	if err != nil || !reflect.DeepEqual(back, deltas) {
		t.Errorf("%v\ngot  %v\nwant %v", err, back, deltas)
	}
}

var update = flag.Bool("update", false, "write the golden of this version anew: lines may only get more fields")

// messages is one of each kind, in a line each.
func messages(t *testing.T) []byte {
	t.Helper()
	state, err := desired.State{}.Replace("endpoint/e1", rows())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, m := range []any{
		Request{ID: 1, Verb: VerbHello},
		Answer{ID: 1, Body: json.RawMessage(`{}`)},
		Hello{Version: 1, Program: "p", Pid: 2, Release: "r"},
		Changes{PackDeltas([]desired.Delta{{Owner: "endpoint/e1", New: rows()[0]}})},
		Rows{Rows: PackState(state)},
		model.Output{Container: "c1", Pipes: model.Pipes{Stdout: "/o", Stderr: "/e"}, Log: "/l", Options: map[string]string{"max-size": "1m"}},
		Follow{Container: "c1", Stdout: true, Stderr: true},
		Inventory{Rows: PackState(state), Outputs: []HandedOutput{{Output: model.Output{Container: "c1"}, Begun: true, Partial: map[string][]byte{"stdout": []byte("x")}}}, Descriptors: 3},
		Descriptors{[]Label{{Kind: LabelDNSUDP, For: "0123456789ab"}, {Kind: LabelFollow, For: "c1", Stdout: true}}},
		PackError(failure()),
	} {
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(raw, '\n'))
	}
	return out.Bytes()
}

func failure() error {
	return &desired.Failure{Owner: "o", Key: desired.Key{Kind: desired.KindResolver, Name: "x"}, Err: model.Errorf(model.NotFound, "gone")}
}

// TestVersionTwoIsFrozen: what a keeper of this version was told must be understood
// by all that come after.
func TestVersionTwoIsFrozen(t *testing.T) {
	now := messages(t)
	if *update {
		if err := os.WriteFile("testdata/version2.jsonl", now, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	frozen, err := os.ReadFile("testdata/version2.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if string(now) != string(frozen) {
		t.Errorf("the language has changed:\n%s\nwas\n%s", now, frozen)
	}
}

// TestVersionOneIsSaidStill: a reader of version 1 finds all that it knows, as it
// was.
func TestVersionOneIsSaidStill(t *testing.T) {
	now := strings.Split(string(messages(t)), "\n")
	for i, line := range versionOne(t) {
		var want, have any
		if err := errors.Join(json.Unmarshal([]byte(line), &want), json.Unmarshal([]byte(now[i]), &have)); err != nil {
			t.Fatal(err)
		}
		if !contains(have, want) {
			t.Errorf("the language has lost something:\n%s\nwas\n%s", now[i], line)
		}
	}
}

// TestVersionOneIsUnderstood: so does who has read it, of what has other types now.
func TestVersionOneIsUnderstood(t *testing.T) {
	lines := versionOne(t)
	var e Error
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil {
		t.Fatal(err)
	}
	got := desired.Failures(e.Unpack())
	want := desired.Failures(failure())
	if len(got) != 1 || got[0].Key != want[0].Key || got[0].Error() != want[0].Error() || model.KindOf(got[0]) != model.NotFound {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func versionOne(t *testing.T) []string {
	t.Helper()
	frozen, err := os.ReadFile("testdata/version1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(frozen)), "\n")
}

// contains tells whether have is want, apart from more fields.
func contains(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		for field, value := range want {
			ok = ok && contains(have[field], value)
		}
		return ok
	case []any:
		have, ok := have.([]any)
		return ok && slices.EqualFunc(have, want, contains)
	}
	return have == want
}

// TestKindsAreFrozen: their names, and the numbers that version 1 has for them.
func TestKindsAreFrozen(t *testing.T) {
	var errs, kinds []string
	for n, k := range errorKinds() {
		errs = append(errs, fmt.Sprintf("%d %d %s", n, k.kind, k.name))
		if name, number := packErrorKind(k.kind); unpackErrorKind(name, -1) != k.kind || unpackErrorKind("", number) != k.kind {
			t.Errorf("%s does not survive", k.name)
		}
	}
	if got, want := strings.Join(errs, ", "), "0 0 internal, 1 1 invalid, 2 2 not-found, 3 3 conflict, 4 4 forbidden, "+
		"5 5 not-modified, 6 6 unavailable, 7 7 not-implemented, 8 8 unfit"; got != want {
		t.Errorf("kinds of errors %s, want %s", got, want)
	}
	for _, kind := range desired.Kinds() {
		kinds = append(kinds, fmt.Sprintf("%d %s", packRowKind(kind), kind))
		if n := packRowKind(kind); n > 0 && unpackRowKind("", n) != kind || unpackRowKind(kind, 0) != kind {
			t.Errorf("%s does not survive", kind)
		}
	}
	if got, want := strings.Join(kinds, ", "), "1 policy, 2 namespace, 3 link, 4 sysctl, 12 loopback, 13 fence, 0 shape, 5 addr, "+
		"6 route, 0 rule, 0 fdb, 7 neigh, 0 balance, 14 announce, 0 uplink, 0 wireguard, 0 wireguard-peer, 8 name, 9 resolver, 10 forward, 11 reserve"; got != want {
		t.Errorf("kinds of rows %s, want %s", got, want)
	}
}

func TestErrorsSurvive(t *testing.T) {
	for _, want := range []error{
		model.Errorf(model.Conflict, "taken"),
		errors.Join(&desired.Failure{Owner: "o", Key: desired.Key{Kind: desired.KindName, Name: "x"}, Err: model.Errorf(model.NotFound, "gone")}, desired.ErrLost),
		fmt.Errorf("all gone: %w", desired.ErrLost),
	} {
		got := PackError(want).Unpack()
		if model.KindOf(got) != model.KindOf(want) || len(desired.Failures(got)) != len(desired.Failures(want)) ||
			errors.Is(got, desired.ErrLost) != errors.Is(want, desired.ErrLost) {
			t.Errorf("%v became %v", want, got)
		}
	}
	if PackError(nil).Unpack() != nil {
		t.Error("nothing became an error")
	}
}

func TestPieces(t *testing.T) {
	var b bytes.Buffer
	for _, data := range []string{"one", "", strings.Repeat("x", 100_000)} {
		if err := WritePiece(&b, PieceStderr, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	var buf []byte
	for _, want := range []int{3, 0, 100_000} {
		kind, data, err := ReadPiece(&b, buf)
		if err != nil || kind != PieceStderr || len(data) != want {
			t.Fatalf("kind %d, %d bytes, %v; want %d", kind, len(data), err, want)
		}
		buf = data
	}
	if _, _, err := ReadPiece(&b, buf); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func FuzzReadPiece(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03\x01abc"))
	f.Add([]byte("\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		kind, data, err := ReadPiece(bytes.NewReader(raw), nil)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := WritePiece(&again, kind, data); err != nil || !bytes.HasPrefix(raw, again.Bytes()) {
			t.Errorf("%q became %q, %v", raw, again.Bytes(), err)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte(`[{"owner":"o","name":{"Name":"x"}},{"resolver":{"Namespace":"n"}}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in []Row
		if json.Unmarshal(raw, &in) != nil {
			return
		}
		state, err := UnpackState(in)
		if err == nil && len(PackState(state)) != len(in) {
			t.Errorf("%d rows became %d", len(in), len(PackState(state)))
		}
	})
}
