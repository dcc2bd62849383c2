package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNotifierTells(t *testing.T) {
	for kind, name := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": fmt.Sprintf("@linkspand-test-%d", os.Getpid()),
	} {
		t.Run(kind, func(t *testing.T) {
			manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
			if err != nil {
				t.Fatal(err)
			}
			defer manager.Close()
			n := taken(t, name)
			for _, news := range []string{newsReady, newsStopping(20 * time.Second)} {
				if err := n.tell(news); err != nil {
					t.Fatal(err)
				}
				if got := receive(t, manager); got != news {
					t.Errorf("the manager got %q, want %q", got, news)
				}
			}
		})
	}
}

// taken returns the notifier of a process that was started with this socket.
func taken(t *testing.T, socket string) notifier {
	t.Helper()
	t.Setenv(notifyEnv, socket)
	n, err := takeNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if left, ok := os.LookupEnv(notifyEnv); ok {
		t.Errorf("%s=%s is left for children", notifyEnv, left)
	}
	return n
}

func receive(t *testing.T, manager *net.UnixConn) string {
	t.Helper()
	if err := manager.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64)
	count, err := manager.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:count])
}

func TestNotifierWithoutManager(t *testing.T) {
	if err := taken(t, "").tell(newsReady); err != nil {
		t.Errorf("nobody waits: %v", err)
	}
	if err := taken(t, filepath.Join(t.TempDir(), "gone")).tell(newsReady); err == nil {
		t.Error("the socket is gone: no error")
	}
}
