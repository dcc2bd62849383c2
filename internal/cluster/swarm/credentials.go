package swarm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/ca"
	"github.com/moby/swarmkit/v2/ca/keyutils"

	"github.com/linkspan/linkspan/internal/model"
)

// Peer is who is at the other end of a connection: a node of the swarm.
type Peer struct {
	NodeID  string
	Manager bool
	Swarm   string // its ID
}

// Credentials are this node's, for connections of our own to other nodes. They are read
// again for every connection: certificates are renewed, and roots change.
type Credentials struct{ node *Node }

// Credentials returns this node's. A nil node has none: connections fail.
func (n *Node) Credentials() Credentials { return Credentials{n} }

// Server returns what a server of this node speaks TLS with. It takes nodes of this
// swarm only; who it is, PeerOf says.
func (c Credentials) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.own() },
		VerifyConnection: func(s tls.ConnectionState) error { _, err := c.verify(s, x509.ExtKeyUsageClientAuth); return err },
		// Every connection is looked at: a certificate may be refused by now.
		SessionTicketsDisabled: true,
	}
}

// Client returns what this node speaks TLS with to a manager of its swarm.
func (c Credentials) Client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		//nolint:gosec // the chain is verified by VerifyConnection, with roots as they are then
		InsecureSkipVerify:   true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.own() },
		VerifyConnection: func(s tls.ConnectionState) error {
			p, err := c.verify(s, x509.ExtKeyUsageServerAuth)
			if err == nil && !p.Manager {
				err = fmt.Errorf("node %s is no manager", p.NodeID)
			}
			return err
		},
	}
}

// PeerOf returns who is at the other end of a connection that Server or Client made.
func PeerOf(s tls.ConnectionState) (Peer, error) {
	if len(s.PeerCertificates) == 0 {
		return Peer{}, errors.New("the other end has shown no certificate")
	}
	subject := s.PeerCertificates[0].Subject
	if subject.CommonName == "" || len(subject.OrganizationalUnit) != 1 || len(subject.Organization) != 1 {
		return Peer{}, errors.New("the certificate is no node's")
	}
	p := Peer{NodeID: subject.CommonName, Swarm: subject.Organization[0]}
	switch subject.OrganizationalUnit[0] {
	case ca.ManagerRole:
		p.Manager = true
	case ca.WorkerRole:
	default:
		return Peer{}, fmt.Errorf("a node's role is not %q", subject.OrganizationalUnit[0])
	}
	return p, nil
}

// verify returns who is at the other end, if it is a node of this node's swarm.
func (c Credentials) verify(s tls.ConnectionState, usage x509.ExtKeyUsage) (Peer, error) {
	p, err := PeerOf(s)
	if err != nil {
		return p, err
	}
	own, roots, err := c.read()
	if err != nil {
		return p, err
	}
	chain := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
	for _, one := range s.PeerCertificates[1:] {
		chain.Intermediates.AddCert(one)
	}
	if _, err := s.PeerCertificates[0].Verify(chain); err != nil {
		return p, err
	}
	if organization := own.Leaf.Subject.Organization; len(organization) != 1 || organization[0] != p.Swarm {
		return p, fmt.Errorf("node %s is of another swarm", p.NodeID)
	}
	return p, nil
}

func (c Credentials) own() (*tls.Certificate, error) {
	own, _, err := c.read()
	return own, err
}

// read returns this node's certificate with its key, and the roots of its swarm.
func (c Credentials) read() (*tls.Certificate, *x509.CertPool, error) {
	if c.node == nil {
		return nil, nil, NoManager()
	}
	paths := ca.NewConfigPaths(filepath.Join(c.node.o.Folder, "certificates"))
	cert, err := os.ReadFile(paths.Node.Cert)
	if err != nil {
		return nil, nil, err
	}
	key, err := c.node.key(paths.Node.Key)
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, nil, err
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, nil, err
		}
	}
	text, err := os.ReadFile(paths.RootCA.Cert)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, nil, errors.New("the swarm has no root certificate")
	}
	return &pair, roots, nil
}

// key reads the node's key, and decrypts it where managers are locked.
func (n *Node) key(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the node's key is none")
	}
	if !keyutils.IsEncryptedPEMBlock(block) {
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}), nil
	}
	plain, err := keyutils.Default.DecryptPEMBlock(block, n.Config().UnlockKey)
	if err != nil {
		if plain, err = n.decrypt(block); err != nil {
			return nil, err
		}
	}
	kind := block.Type
	if kind == "ENCRYPTED PRIVATE KEY" {
		kind = "PRIVATE KEY"
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: plain}), nil
}

// decrypt is for a key that was changed since the node was started: its manager knows it.
func (n *Node) decrypt(block *pem.Block) (plain []byte, err error) {
	err = n.Manage(context.Background(), func(ctx context.Context, m Manager) error {
		r, err := api.NewCAClient(m.conn).GetUnlockKey(ctx, &api.GetUnlockKeyRequest{})
		if err != nil {
			return err
		}
		if plain, err = keyutils.Default.DecryptPEMBlock(block, r.UnlockKey); err != nil {
			return err
		}
		n.mu.Lock()
		n.config.UnlockKey = r.UnlockKey
		n.mu.Unlock()
		return nil
	})
	return plain, err
}

// Known tells whether a node is of the swarm still. Errors: this node is no manager, or
// has no leader.
func (n *Node) Known(ctx context.Context, id string) (bool, error) {
	err := n.Manage(ctx, func(ctx context.Context, m Manager) error {
		_, err := m.GetNode(ctx, &api.GetNodeRequest{NodeID: id})
		return err
	})
	if model.KindOf(err) == model.NotFound {
		return false, nil
	}
	return err == nil, err
}
