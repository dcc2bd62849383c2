package dockerapi

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/bpf"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/dockerapi/private"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// ear hears the frames that a test gives it.
type ear struct {
	frames chan facts.Frame
	closed chan struct{}
}

func (e ear) Frames() <-chan facts.Frame    { return e.frames }
func (e ear) Counts() []facts.CaptureCounts { return []facts.CaptureCounts{{Tap: 0, Dropped: 7}} }
func (e ear) Close()                        { close(e.closed) }

// planned is an engine with a plan.
type planned struct {
	*fakeEngine
	plan desired.State
}

// Plan implements private.Inspector.
func (p planned) Plan() desired.State { return p.plan }

// finder finds containers by their names.
type finder map[string]string

// Inspect implements inspect.Containers.
func (f finder) Inspect(_ context.Context, ref string) (container.InspectResponse, error) {
	if id, ok := f[ref]; ok {
		return container.InspectResponse{ID: id}, nil
	}
	return container.InspectResponse{}, model.Errorf(model.NotFound, "No such container: %s", ref)
}

// hearing is a private socket on which a container's interface can be heard.
func hearing(t *testing.T) (client privateapi.Client, e ear, asked func() []facts.Tap) {
	t.Helper()
	b := newBench(t)
	b.publishing(t, "1", "web")
	b.publishing(t, "2", "bridge") // as the network is called
	plan := desired.State{}
	for _, row := range []struct {
		owner desired.Owner
		link  desired.Link
	}{
		{desired.OwnerOf("endpoint", id("1")), desired.Link{Name: "veth1", Type: desired.LinkVeth, Peer: &desired.Peer{Namespace: "n", Name: "eth0"}}},
		{desired.OwnerOf("endpoint", id("2")), desired.Link{Namespace: "n2", Name: "eth0", Type: desired.LinkMacvlan}},
		{desired.OwnerOf("network", strings.Repeat("b", 64)), desired.Link{Name: "docker0", Type: desired.LinkBridge}},
	} {
		var err error
		if plan, err = plan.Replace(row.owner, []desired.Row{row.link}); err != nil {
			t.Fatal(err)
		}
	}
	e = ear{make(chan facts.Frame, 10), make(chan struct{})}
	var taps []facts.Tap
	h := private.Handler(private.Options{
		Engine: planned{b.engine, plan}, Drivers: all.Drivers(), Containers: finder{"web": id("1"), "bridge": id("2")}, Metrics: prometheus.NewRegistry(),
		Hear: func(_ context.Context, t []facts.Tap, program func([]facts.Place) ([]bpf.Instruction, error), snapLen int) (private.Hearing, error) {
			taps = t
			if _, err := program([]facts.Place{{Index: 1, Incoming: true}}); err != nil || snapLen == 0 {
				return nil, model.Errorf(model.Internal, "no program")
			}
			return e, nil
		},
	})
	socket := filepath.Join(t.TempDir(), "private.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return privateapi.Client{Socket: socket}, e, func() []facts.Tap { return taps }
}

// TestPrivateCapture: frames come as they are heard, with names; enough of them, or their
// reader's wish, ends the file as it should end, and what was dropped is said.
func TestPrivateCapture(t *testing.T) {
	for _, byCount := range []bool{true, false} {
		client, e, taps := hearing(t)
		ctx, enough := context.WithCancel(t.Context())
		defer enough()
		for range 3 {
			e.frames <- facts.Frame{At: time.Unix(1, 0), Data: []byte("a frame"), Length: 7}
		}
		question := privateapi.Capture{Target: "web", Filter: "tcp port 80"}
		if byCount {
			question.Count = 2
		}
		var file told
		file.seen = func(got []byte) {
			if !byCount && bytes.Count(got, []byte("a frame")) == 3 {
				enough()
			}
		}
		got, known, err := client.Capture(ctx, question, &file)
		want := uint64(3)
		if byCount {
			want = 2
		}
		if err != nil || !known || got.Frames != want || got.Dropped != 7 {
			t.Fatalf("by count %t: %+v, %t, %v", byCount, got, known, err)
		}
		for _, text := range []string{"container web (111111111111), eth0 on network bridge", "veth1", "tcp port 80"} {
			if !strings.Contains(file.what.String(), text) {
				t.Errorf("no %q in the file", text)
			}
		}
		if got := taps(); len(got) != 1 || got[0].Link != "veth1" || !got[0].Incoming || !got[0].Outgoing {
			t.Errorf("%+v", got)
		}
		<-e.closed
	}
}

// told is a file that tells what is in it.
type told struct {
	what bytes.Buffer
	seen func([]byte)
}

// Write implements io.Writer.
func (w *told) Write(p []byte) (int, error) {
	n, err := w.what.Write(p)
	w.seen(w.what.Bytes())
	return n, err
}

// TestPrivateCaptureOfNetworks: each frame is heard at one place.
func TestPrivateCaptureOfNetworks(t *testing.T) {
	client, e, taps := hearing(t)
	e.frames <- facts.Frame{Data: []byte("a frame")}
	if _, _, err := client.Capture(t.Context(), privateapi.Capture{Target: "network:bridge", Count: 1}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, tap := range taps() {
		way := ""
		if tap.Incoming {
			way += "in"
		}
		if tap.Outgoing {
			way += "out"
		}
		found[tap.Namespace+"/"+tap.Link] = way
	}
	if len(found) != 3 || found["/docker0"] != "out" || found["/veth1"] != "in" || found["n2/eth0"] != "inout" {
		t.Errorf("%v", found)
	}
}

func TestPrivateCaptureRefuses(t *testing.T) {
	client, _, _ := hearing(t)
	for _, c := range []struct {
		question privateapi.Capture
		kind     model.Kind
		text     string
	}{
		{privateapi.Capture{Target: "nobody"}, model.NotFound, "there is no container and no network nobody"},
		{privateapi.Capture{Target: "bridge"}, model.Conflict, "write container:bridge or network:bridge"},
		{privateapi.Capture{Target: "web", Filter: "host nobody"}, model.Invalid, "no running container"},
		{privateapi.Capture{Target: "web", SnapLen: 10 << 20}, model.Invalid, "invalid snaplen"},
		{privateapi.Capture{Target: "web", Count: -1}, model.Invalid, "invalid count"},
		{privateapi.Capture{Target: "web", Duration: 1000 * time.Hour}, model.Invalid, "invalid duration"},
	} {
		_, _, err := client.Capture(t.Context(), c.question, &bytes.Buffer{})
		if model.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v", c.question, err)
		}
	}
	w := httptest.NewRecorder()
	private.Handler(private.Options{Engine: newBench(t).engine, Metrics: prometheus.NewRegistry()}).ServeHTTP(w, httptest.NewRequest("POST", "/linkspan/v1/capture?target=web", nil))
	if w.Code != http.StatusNotImplemented {
		t.Errorf("without an ear: %d", w.Code)
	}
}
