package swarm

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/swarmkit/v2/ca"
)

// member returns a node that has a certificate of a swarm.
func member(t *testing.T, root *ca.RootCA, id, role, swarm string, kek []byte) *Node {
	t.Helper()
	folder := t.TempDir()
	paths := ca.NewConfigPaths(filepath.Join(folder, "certificates"))
	if err := os.MkdirAll(filepath.Dir(paths.Node.Cert), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := root.IssueAndSaveNewCertificates(ca.NewKeyReadWriter(paths.Node, kek, nil), id, role, swarm); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths.RootCA.Cert, root.Certs, 0o600); err != nil {
		t.Fatal(err)
	}
	return &Node{o: Options{Folder: folder}, config: Config{UnlockKey: kek}}
}

// shake connects two nodes and returns whom the server sees; its error is that of either.
func shake(client, server *tls.Config) (Peer, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for _, c := range []net.Conn{a, b} {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	failed := make(chan error, 1)
	go func() {
		c := tls.Client(a, client)
		err := c.Handshake()
		if err == nil {
			_, err = c.Read(make([]byte, 1)) // the server's word on our certificate
		}
		if err != nil {
			a.Close()
		}
		failed <- err
	}()
	s := tls.Server(b, server)
	err := s.Handshake()
	if err == nil {
		_, err = s.Write([]byte{1})
	}
	if err != nil {
		b.Close()
		return Peer{}, errors.Join(err, <-failed)
	}
	if err := <-failed; err != nil {
		return Peer{}, err
	}
	return PeerOf(s.ConnectionState())
}

// TestWhoMaySpeak: servers take nodes of their own swarm, clients managers of it.
func TestWhoMaySpeak(t *testing.T) {
	root, err := ca.CreateRootCA("swarm-ca")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ca.CreateRootCA("swarm-ca")
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("an unlock key of thirty-two bytes")
	manager := member(t, &root, "m1", ca.ManagerRole, "ours", nil)
	locked := member(t, &root, "m2", ca.ManagerRole, "ours", key)
	worker := member(t, &root, "w1", ca.WorkerRole, "ours", nil)
	for _, c := range []struct {
		name           string
		client, server *Node
		want           string // the server sees, or part of the error
	}{
		{"a worker, of a manager", worker, manager, "w1 worker"},
		{"a worker, of a locked manager", worker, locked, "w1 worker"},
		{"a locked manager, of another", locked, manager, "m2 manager"},
		{"a manager, of a worker", manager, worker, "is no manager"},
		{"one of another CA", member(t, &stranger, "w1", ca.WorkerRole, "ours", nil), manager, "unknown authority"},
		{"one of another swarm with our CA", member(t, &root, "w2", ca.WorkerRole, "theirs", nil), manager, "another swarm"},
		{"one that is none", nil, manager, "not a swarm manager"},
		{"of one that is none", worker, nil, "not a swarm manager"},
	} {
		got, err := shake(c.client.Credentials().Client(), c.server.Credentials().Server())
		text := got.NodeID + map[bool]string{true: " manager", false: " worker"}[got.Manager]
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
	plain := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // a client without a certificate
	if _, err := shake(plain, manager.Credentials().Server()); err == nil {
		t.Error("a client without a certificate is taken")
	}
	own, err := manager.Credentials().own()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PeerOf(tls.ConnectionState{PeerCertificates: []*x509.Certificate{own.Leaf}}); err != nil {
		t.Error(err)
	}
}
