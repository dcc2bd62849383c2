package firewalld

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/linkspan/linkspan/internal/desired"
)

// patience is how long a condition may take to come true.
const patience = 20 * time.Second

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(time.Millisecond) // between two looks at the condition
	}
}

// journal is a log that is written while it is read.
type journal struct {
	mu sync.Mutex
	bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Buffer.Write(p)
}

// warnings counts those that have the text.
func (j *journal) warnings(text string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.String()) {
		if strings.Contains(line, "level=WARN") && strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// open follows the firewalld on that bus until the test ends.
func open(t *testing.T, address string, reloaded func()) (*Firewalld, *journal) {
	t.Helper()
	return openWith(t, Options{Address: address, Reloaded: func(context.Context) { reloaded() }})
}

func openWith(t *testing.T, o Options) (*Firewalld, *journal) {
	t.Helper()
	log := &journal{}
	o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f := New(o)
	t.Cleanup(func() { f.Close() })
	return f, log
}

func nothing() {}

func appear(t *testing.T, f *Firewalld, bridges ...string) {
	t.Helper()
	for _, name := range bridges {
		if err := f.Apply(t.Context(), []desired.Delta{{New: desired.BridgePolicy{Bridge: name}}}); err != nil {
			t.Fatal(err)
		}
	}
}

func vanish(t *testing.T, f *Firewalld, bridge string) {
	t.Helper()
	if err := f.Apply(t.Context(), []desired.Delta{{Old: desired.BridgePolicy{Bridge: bridge}}}); err != nil {
		t.Fatal(err)
	}
}

func members(t *testing.T, d *fake, want string) {
	t.Helper()
	until(t, "members of zone docker are "+want, func() bool { return d.members("docker") == want })
}

func TestBridgesJoinAndLeave(t *testing.T) {
	for _, old := range []bool{false, true} {
		address := bus(t)
		d := startFake(t, address, func(f *fake) { f.old = old })
		f, log := open(t, address, nothing)
		appear(t, f, "docker0", "br-1")
		members(t, d, "br-1 docker0")
		if !f.Running() {
			t.Error("firewalld does not run, it says")
		}
		want := map[string]string{"docker": "ACCEPT", "docker-forwarding": "[ANY] [docker] ACCEPT\n"}
		if old {
			delete(want, "docker-forwarding")
		}
		for name, target := range want {
			if got := d.targets[name]; got != target {
				t.Errorf("old %t: %s: %q, want %q", old, name, got, target)
			}
		}
		if n := d.count("reload"); n != 1 {
			t.Errorf("%d reloads for what is new", n)
		}
		vanish(t, f, "br-1")
		members(t, d, "docker0")
		f.Close()
		if got := d.members("docker"); got != "docker0" {
			t.Errorf("after the end: %q", got)
		}

		// another daemon finds all made
		f, _ = open(t, address, nothing)
		appear(t, f, "docker0", "br-2")
		members(t, d, "br-2 docker0")
		if n := d.count("reload"); n != 1 {
			t.Errorf("%d reloads in the end", n)
		}
		if n := log.warnings(""); n > 0 {
			t.Errorf("%d warnings:\n%s", n, log)
		}
	}
}

func TestZoneThatIsNotInEffect(t *testing.T) {
	address := bus(t)
	d := startFake(t, address, func(f *fake) {
		f.permanent["docker"], f.policies = nil, []string{"docker-forwarding"}
	})
	f, _ := open(t, address, nothing)
	appear(t, f, "docker0")
	members(t, d, "docker0")
}

func TestReloadAndRestartBringThemBack(t *testing.T) {
	address := bus(t)
	d := startFake(t, address, nil)
	var told atomic.Int32
	f, _ := open(t, address, func() { told.Add(1) })
	appear(t, f, "docker0", "br-1")
	members(t, d, "br-1 docker0")
	until(t, "our own reload was told", func() bool { return told.Load() == 1 })

	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	until(t, "the reload was told", func() bool { return told.Load() == 2 })
	members(t, d, "br-1 docker0")
	if f.ReloadedAt().IsZero() {
		t.Error("when it reloaded is not known")
	}

	d.conn.Close()
	until(t, "firewalld has ended", func() bool { return !f.Running() })
	appear(t, f, "br-2")
	vanish(t, f, "br-1")
	d = startFake(t, address, nil)
	members(t, d, "br-2 docker0")
	until(t, "the start was told", func() bool { return told.Load() >= 3 })
}

// TestOwnReloadIsAnnounced: only the one that is our doing, and both before and after it.
func TestOwnReloadIsAnnounced(t *testing.T) {
	address := bus(t)
	d := startFake(t, address, nil)
	reloads := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.reloads
	}
	var before, after atomic.Int32
	f, _ := openWith(t, Options{Address: address, BeforeReload: func(context.Context) func(context.Context) {
		before.Add(1 + int32(reloads()))
		return func(context.Context) { after.Add(int32(reloads())) }
	}})
	appear(t, f, "docker0")
	members(t, d, "docker0")
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	members(t, d, "docker0")
	if before.Load() != 1 || after.Load() != 1 {
		t.Errorf("before %d, after %d", before.Load(), after.Load())
	}
}

// TestStartedLater: neither bus nor firewalld need be there first.
func TestStartedLater(t *testing.T) {
	address := bus(t)
	f, log := open(t, address, nothing)
	appear(t, f, "docker0")
	d := startFake(t, address, nil)
	members(t, d, "docker0")

	absent, quiet := open(t, "unix:path="+filepath.Join(t.TempDir(), "none"), nothing)
	appear(t, absent, "docker0")
	if log.warnings("")+quiet.warnings("") > 0 || absent.Running() {
		t.Errorf("warnings:\n%s\n%s", log, quiet)
	}
}

// TestAdministratorDecides: a bridge in another zone stays there with one warning, and
// one that was taken out stays out until the next reload, whatever else happens.
func TestAdministratorDecides(t *testing.T) {
	address := bus(t)
	d := startFake(t, address, func(f *fake) { f.zones["public"] = []string{"docker0"} })
	f, log := open(t, address, nothing)
	appear(t, f, "br-1")
	members(t, d, "br-1")
	d.permanent["public"] = []string{"docker0"}
	_ = d.bind("public", "docker0")
	appear(t, f, "docker0")
	until(t, "the warning", func() bool { return log.warnings("docker0") == 1 })

	// firewall-cmd --zone=public --remove-interface=docker0
	if _, err := d.removeInterface("public", "docker0"); err != nil {
		t.Fatal(err)
	}
	rows, err := desired.State{}.Replace("host", []desired.Row{desired.BridgePolicy{Bridge: "docker0"}, desired.BridgePolicy{Bridge: "br-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Resync(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	appear(t, f, "br-2")
	members(t, d, "br-1 br-2")

	if _, err := d.removeInterface("docker", "br-1"); err != nil {
		t.Fatal(err)
	}
	appear(t, f, "br-3")
	members(t, d, "br-2 br-3")

	d.permanent["public"] = nil
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	members(t, d, "br-1 br-2 br-3 docker0")
	if n := log.warnings(""); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log)
	}
}

func TestRefusalsAreTriedAgain(t *testing.T) {
	for _, method := range []string{"getZones", "addZone2", "addPolicy", "reload", "getInterfaces", "addInterface"} {
		address := bus(t)
		d := startFake(t, address, func(f *fake) { f.refuse[method] = "NOT_AUTHORIZED" })
		f, log := open(t, address, nothing)
		appear(t, f, "docker0")
		until(t, method+": a warning", func() bool { return log.warnings("NOT_AUTHORIZED") > 0 })
		d.mu.Lock()
		delete(d.refuse, method)
		d.mu.Unlock()
		appear(t, f, "br-1") // which does not wait until it is tried again
		members(t, d, "br-1 docker0")
		if n := log.warnings(""); n != 1 {
			t.Errorf("%s: %d warnings", method, n)
		}
	}
}

// TestSlowFirewalldHoldsUpNobody: while it does not answer, requests go on and the end
// comes at once.
func TestSlowFirewalldHoldsUpNobody(t *testing.T) {
	address := bus(t)
	hang := make(chan struct{})
	d := startFake(t, address, func(f *fake) { f.slow = hang })
	f, _ := open(t, address, nothing)
	until(t, "firewalld runs", f.Running)
	ctx, cancel := context.WithTimeout(t.Context(), callTime/2)
	defer cancel()
	for range 100 {
		appear(t, f, "docker0")
		if _, err := f.Resync(ctx, desired.State{}); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	if ctx.Err() != nil {
		t.Error("it took as long as a call may")
	}
	close(hang)
	_ = d
}

// TestStrangersSignals: anybody may send a signal to us.
func TestStrangersSignals(t *testing.T) {
	address := bus(t)
	d := startFake(t, address, nil)
	var told atomic.Int32
	f, _ := open(t, address, func() { told.Add(1) })
	appear(t, f, "docker0")
	members(t, d, "docker0")
	until(t, "our own reload was told", func() bool { return told.Load() == 1 })
	stranger, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	var names []string
	if err := stranger.BusObject().Call(busName+".ListNames", 0).Store(&names); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, ":") {
			continue
		}
		for _, signal := range []struct {
			name string
			body []any
		}{
			{service + ".Reloaded", nil},
			{busName + ".NameOwnerChanged", []any{service, "", ""}},
			{busName + ".NameOwnerChanged", []any{service, "", stranger.Names()[0]}},
		} {
			iface, member := signal.name[:strings.LastIndex(signal.name, ".")], signal.name[strings.LastIndex(signal.name, ".")+1:]
			msg := &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldDestination: dbus.MakeVariant(name), dbus.FieldPath: dbus.MakeVariant(objectPath),
				dbus.FieldInterface: dbus.MakeVariant(iface), dbus.FieldMember: dbus.MakeVariant(member),
			}, Body: signal.body}
			if len(signal.body) > 0 {
				msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(signal.body...))
			}
			if call := stranger.Send(msg, nil); call != nil && call.Err != nil {
				t.Fatal(call.Err)
			}
		}
	}
	if err := stranger.BusObject().Call(busName+".GetId", 0).Err; err != nil { // they are through
		t.Fatal(err)
	}
	appear(t, f, "br-1")
	members(t, d, "br-1 docker0")
	if !f.Running() || told.Load() != 1 {
		t.Errorf("running %t, told %d times", f.Running(), told.Load())
	}
}

// TestBusesThatMisbehave: none holds up a request or the end, and none is believed.
func TestBusesThatMisbehave(t *testing.T) {
	header := func(fields, body uint32) string {
		b := []byte{'l', 2, 1, 1}
		b = binary.LittleEndian.AppendUint32(b, body)
		b = binary.LittleEndian.AppendUint32(b, 1)
		return string(binary.LittleEndian.AppendUint32(b, fields))
	}
	const letIn = "REJECTED EXTERNAL\r\nOK 0123456789abcdef0123456789abcdef\r\n"
	for name, says := range map[string]string{
		"nothing":                 "",
		"half a line":             "REJ",
		"a long line":             strings.Repeat("x", maxGreeting+1),
		"let in and then nothing": letIn,
		"a large body":            letIn + header(0, maxMessage+1),
		"a large header":          letIn + header(0xffffffff, 0xffffffff),
		"no message":              letIn + strings.Repeat("\x00", 64),
		"half a message":          letIn + header(8, 8) + "abc",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bus")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			came := make(chan struct{}, 100)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						_, _ = io.WriteString(conn, says)
						_, _ = conn.Read(make([]byte, 1))
						came <- struct{}{}
						_, _ = io.Copy(io.Discard, conn)
					}()
				}
			}()
			f, log := open(t, "unix:path="+path, nothing)
			appear(t, f, "docker0")
			select {
			case <-came:
			case <-time.After(patience):
				t.Fatalf("nobody came: %s", log)
			}
			f.Close()
			if f.Running() || log.warnings("") > 0 {
				t.Errorf("running %t; %s", f.Running(), log)
			}
		})
	}
}

// FuzzReadMessage: it reads what the header says, within the bound, or nothing.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("l\x02\x01\x01\x04\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00abc\x00\x00\x00\x00\x00body, and more"))
	f.Add([]byte("B\x02\x01\x01\xff\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		message, err := readMessage(r)
		if err == nil && (!bytes.HasPrefix(data, message) || len(message) != len(data)-r.Len() || len(message) > maxMessage+16) {
			t.Errorf("%d bytes of %q", len(message), data)
		}
	})
}

// TestMessagesThatEndInTheMiddle: the library would panic.
func TestMessagesThatEndInTheMiddle(t *testing.T) {
	var whole bytes.Buffer
	msg := &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(objectPath), dbus.FieldInterface: dbus.MakeVariant(service), dbus.FieldMember: dbus.MakeVariant("Reloaded"),
		dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf("", []string{})),
	}, Body: []any{"abc", []string{"d", "e"}}}
	if err := msg.EncodeTo(&whole, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	for n := range whole.Len() {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(whole.Bytes()[:n])
			theirs.Close()
		}()
		tr := &transport{Conn: ours}
		tr.inside.Store(true)
		if _, err := dbus.DecodeMessage(tr); err == nil {
			t.Errorf("%d bytes of %d are a message", n, whole.Len())
		}
		ours.Close()
		// and with a header that says that this is all
		short := bytes.Clone(whole.Bytes()[:n])
		if n > 16 {
			binary.LittleEndian.PutUint32(short[4:], 0)
			binary.LittleEndian.PutUint32(short[12:], uint32(n-16))
		}
		if err := wellFormed(short); err == nil {
			t.Errorf("%q is well-formed", short)
		}
	}
	if err := wellFormed(whole.Bytes()); err != nil {
		t.Error(err)
	}
}

func TestSocketOf(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "")
	for address, want := range map[string]string{
		"":                                "/var/run/dbus/system_bus_socket",
		"unix:path=/a%20b":                "/a b",
		"tcp:host=x;unix:path=/b,guid=12": "/b",
		"unix:guid=1,abstract=c":          "@c",
		"unix:runtime=yes":                "",
		"tcp:host=x":                      "",
	} {
		if got, err := socketOf(address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", address, got, err)
		}
	}
}
