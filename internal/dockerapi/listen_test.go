package dockerapi

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func overSocket(path string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}

// serve runs the door on a unix socket and returns the socket and a function
// that ends it and returns what Serve did.
func serve(t *testing.T, h http.Handler) (socket string, stop func() error) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "docker.sock")
	listeners, err := Listen("unix://"+socket, Access{Group: DefaultGroup})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, h, textLogger(io.Discard), listeners...) }()
	t.Cleanup(cancel)
	return socket, func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * patience):
			t.Fatal("Serve did not end")
			return nil
		}
	}
}

func TestServe(t *testing.T) {
	b := newBench(t)
	socket, stop := serve(t, b)
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	if _, err := Listen("unix://"+socket, Access{}); err == nil || !strings.Contains(err.Error(), "another daemon listens on") {
		t.Errorf("a live daemon's socket was taken: %v", err)
	}
	answer, err := overSocket(socket).Get("http://engine/_ping")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	// An endless answer does not hold the end up.
	b.subscribed = make(chan struct{}, 1)
	events, err := overSocket(socket).Get("http://engine/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	<-b.subscribed
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if took := time.Since(began); took > closingGrace {
		t.Errorf("took %s to end", took)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	fresh, err := Listen("unix://"+stale, Access{})
	if err != nil {
		t.Fatalf("a dead daemon's socket was not replaced: %v", err)
	}
	fresh[0].Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"unix://" + file: "is not a socket", "docker.sock": "want unix://", "pipe://x": `protocol "pipe" is not known`,
		"fd://": "no sockets found via socket activation", "tcp://127.0.0.1:0": "without --tlsverify whoever reaches it would be root of this machine", "unix://" + dir + "/no/such/folder": "no such file",
	} {
		if _, err := Listen(host, Access{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", host, err, want)
		}
	}
	if raw, err := os.ReadFile(file); string(raw) != "precious" {
		t.Errorf("file: %q %v", raw, err)
	}
	tcp, err := Listen("tcp://127.0.0.1:0", Access{Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	tcp[0].Close()
}
