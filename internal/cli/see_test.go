package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// listening is a private socket with these handlers.
func listening(t *testing.T, mux *http.ServeMux) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "private.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(l) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { server.Close() })
	return socket
}

func TestCapture(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /linkspan/v1/capture", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("target") == "nobody" {
			http.Error(w, "there is no container and no network nobody", http.StatusNotFound)
			return
		}
		w.Header().Set("Trailer", privateapi.TrailerFrames+", "+privateapi.TrailerDropped)
		io.WriteString(w, q.Get("filter")+" "+q.Get("count")+" "+q.Get("snaplen")+" "+q.Get("duration")) //nolint:errcheck // to a test
		w.Header().Set(privateapi.TrailerFrames, "3")
		w.Header().Set(privateapi.TrailerDropped, "1")
	})
	socket, file := listening(t, mux), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("somebody's older and longer file that anybody may read"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command   string
		status    int
		out, errs string
	}{
		{"capture web -c 3 -s 100 --duration 2s tcp port 80", 0, "tcp port 80 3 100 2s", "3 packets captured, 1 dropped\n"},
		{"capture web -w " + file + " not arp", 0, "", "3 packets captured, 1 dropped\n"},
		{"capture web -w " + link, 2, "", "linkspan: open " + link},
		{"capture nobody", 2, "", "linkspan: there is no container and no network nobody"},
		{"capture web -c -1", 2, "", "linkspan: numbers and times are not negative"},
		{"capture", 1, "", "linkspan: 'linkspan capture' requires at least 1 argument"},
	} {
		status, out, errs := run(t, "--socket "+socket+" "+c.command)
		if status != c.status || out != c.out || !strings.HasPrefix(errs, c.errs) {
			t.Errorf("%s: status %d, output %q, errors %q", c.command, status, out, errs)
		}
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != "not arp 0 0 " {
		t.Errorf("the file: %q, %v", raw, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// screen is a terminal.
type screen struct{ bytes.Buffer }

func (*screen) IsTerminal() bool                 { return true }
func (*screen) GetTtySize() (height, width uint) { return 3, 80 }

// TestNotForTerminals: neither packets nor archives are written to one; pictures are, in
// one another's place.
func TestNotForTerminals(t *testing.T) {
	var out screen
	if _, _, err := (captureFlags{file: "-"}).open(&out); err == nil || !strings.Contains(err.Error(), "tcpdump") {
		t.Error(err)
	}
	if err := (Program{}).writeDump(t.Context(), "", "-", &out, time.Now()); err == nil {
		t.Error("a dump was written to a terminal")
	}
	if err := (topWatch{out: &out, sort: sortRate}).show(sample()); err != nil || !strings.HasPrefix(out.String(), "\x1b[HCONTAINER") || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("%v, %q", err, out.String())
	}
}

// describer describes namespaces.
type describer struct{}

// Describe implements Describer.
func (describer) Describe(_ context.Context, namespace string) (string, error) {
	if namespace == "/run/netns/gone" {
		return "", errors.New("no such namespace")
	}
	return "what is in " + namespace + "\n", nil
}

// blind is a Surveyor that sees nothing.
type blind struct{}

func (blind) View(context.Context, evidence.ViewQuestion) (evidence.View, error) {
	return evidence.View{}, errors.New("blind")
}
func (blind) Probe(context.Context, evidence.ProbeQuestion) evidence.Probe { return evidence.Probe{} }
func (blind) Ask(context.Context, evidence.NameQuestion) evidence.NameServer {
	return evidence.NameServer{}
}
func (blind) Balanced(context.Context, string, netip.Addr) (map[netip.Addr]int, error) {
	return nil, errors.New("blind")
}
func (blind) Host(context.Context, string, string) evidence.Host {
	return evidence.Host{Settings: map[string]string{}, Lacks: map[string]string{}, Failed: map[string]string{}, Programs: map[string]bool{}}
}
func (blind) Descriptors(string, int) (evidence.Descriptors, error) {
	return evidence.Descriptors{}, errors.New("blind")
}

// unpack returns the files of a dump.
func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for files := tar.NewReader(zipped); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(raw)
	}
}

func TestDebugDump(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /linkspan/v1/dump", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(privateapi.Dump{Version: 1, Files: []privateapi.DumpFile{{Name: "state/networks.json", Text: "{}"}, {Name: "../../etc/passwd", Text: "x"}}}) //nolint:errcheck // to a test
	})
	mux.HandleFunc("GET /linkspan/v1/state", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(privateapi.State{Containers: []privateapi.Container{ //nolint:errcheck // to a test
			{Name: "web", Up: true, Namespace: "/run/netns/abc"}, {Name: "a/../b", Up: true, Namespace: "/run/netns/gone"}, {Name: "off", Namespace: "/run/netns/off"},
		}})
	})
	for socket, want := range map[string]map[string]string{
		listening(t, mux): {
			"daemon/state/networks.json": "{}", "daemon/etc/passwd": "x", "namespaces/host.txt": "what is in \n", "namespaces/web-abc.txt": "what is in /run/netns/abc\n",
			"namespaces/a_.._b-gone.txt": "not read: no such namespace\n", "doctor.txt": "", "version.txt": "", "daemon/version.txt": "",
		},
		"/does/not/exist": {"daemon/missing.txt": "", "namespaces/host.txt": "what is in \n", "doctor.txt": "", "version.txt": ""},
	} {
		file := filepath.Join(t.TempDir(), "dump.tar.gz")
		var said bytes.Buffer
		p := Program{Version: "1.2.3", Surveyor: blind{}, Describer: describer{}}
		if err := p.writeDump(t.Context(), socket, file, &said, time.Unix(0, 0)); err != nil || said.String() != file+"\n" {
			t.Fatal(err, said.String())
		}
		got := unpack(t, file)
		for name, text := range want {
			if have, ok := got["linkspan-dump/"+name]; !ok || text != "" && have != text || have == "" {
				t.Errorf("%s: %q, want %q", name, have, text)
			}
		}
		if len(got) < len(want) || got["linkspan-dump/namespaces/off-off.txt"] != "" {
			t.Errorf("%d files: %v", len(got), got)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		if err := p.writeDump(t.Context(), socket, file, &said, time.Unix(0, 0)); !errors.Is(err, os.ErrExist) {
			t.Errorf("over a file that is there: %v", err)
		}
	}
}

func TestPrintLive(t *testing.T) {
	var out bytes.Buffer
	live := evidence.Live{Steps: []evidence.LiveStep{
		{Place: "host", Packet: "10.0.0.2:1 > 10.0.0.3:80", In: "veth1", Out: "br-1", Table: "inet linkspan", Chain: "forward", Rule: "r", Comment: "into a network", Verdict: "jump more", Ours: true},
		{Place: "host", Packet: "10.0.0.2:1 > 10.0.0.3:80", In: "eth9", Table: "ip theirs", Chain: "shut\x1b", Verdict: "drop"},
		{Place: "host", Packet: "10.0.0.3:80 > 10.0.0.2:1", Answer: true, Table: "ip theirs", Chain: "out", Rule: "tcp dport 80", Verdict: "accept"},
	}, Lost: true, Failed: map[string]string{"container x": "gone"}}
	if err := printLive(&out, live, map[string]string{"veth1": "container web", "br-1": "network blue"}); err != nil {
		t.Fatal(err)
	}
	want := `
the packet 10.0.0.2:1 > 10.0.0.3:80 at host:
  inet linkspan forward in veth1 (container web) out br-1 (network blue): into a network => jump more [linkspan]
* ip theirs shut\x1b in eth9: end of the chain => drop [foreign]
the answer 10.0.0.3:80 > 10.0.0.2:1 at host:
  ip theirs out: tcp dport 80 => accept [foreign]
? container x could not be followed: gone
? there was more than could be heard
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	if err := printLive(&out, evidence.Live{}, nil); err != nil || !strings.Contains(out.String(), "no rule of nf_tables") {
		t.Errorf("%v, %s", err, out.String())
	}
}
