package dockerapi

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true}, key}
	raw, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// sign returns a certificate and its key, for a server at 127.0.0.1 or a client.
func (a authority) sign(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.cert, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: inside})
}

// secured is the API on TCP with certificates in a folder.
type secured struct {
	t       *testing.T
	files   CertificateFiles
	certs   *Certificates
	address string
	said    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func serveSecured(t *testing.T, a authority) *secured {
	t.Helper()
	dir := t.TempDir()
	s := &secured{t: t, said: &syncBuffer{}, files: CertificateFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}}
	s.put(a, "first")
	s.write(s.files.CA, a.pem())
	var err error
	if s.certs, err = LoadCertificates(s.files, textLogger(s.said)); err != nil {
		t.Fatal(err)
	}
	listeners, err := Listen("tcp://127.0.0.1:0", Access{Certificates: s.certs})
	if err != nil {
		t.Fatal(err)
	}
	s.address = listeners[0].Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, newBench(t), textLogger(io.Discard), listeners...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *secured) put(a authority, name string) {
	s.t.Helper()
	cert, key := a.sign(s.t, name)
	s.write(s.files.Cert, cert)
	s.write(s.files.Key, key)
}

// write replaces a file as tools do that renew certificates.
func (s *secured) write(path string, raw []byte) {
	s.t.Helper()
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// ping asks as a client of an authority, or without a certificate, and returns the name that the server showed.
func (s *secured) ping(server authority, client *authority) (string, error) {
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(server.cert)
	if client != nil {
		cert, key := client.sign(s.t, "client")
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			s.t.Fatal(err)
		}
		// whatever the server says whom it trusts
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
	answer, err := c.Get("https://" + s.address + "/_ping")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	return answer.TLS.PeerCertificates[0].Subject.CommonName, nil
}

// TestClientsAreVerified: only those whose certificate the authority has signed are answered.
func TestClientsAreVerified(t *testing.T) {
	good, bad := newAuthority(t, "good"), newAuthority(t, "bad")
	s := serveSecured(t, good)
	if name, err := s.ping(good, &good); err != nil || name != "first" {
		t.Errorf("a client of the authority: %q, %v", name, err)
	}
	if _, err := s.ping(good, nil); err == nil {
		t.Error("a client without a certificate was answered")
	}
	if _, err := s.ping(good, &bad); err == nil {
		t.Error("a client of another authority was answered")
	}
	if answer, err := http.Get("http://" + s.address + "/_ping"); err == nil {
		answer.Body.Close()
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS: %s", answer.Status)
		}
	}
}

// TestCertificatesAreReadAnew: a renewed certificate and another authority hold from the next connection on; what
// cannot be read changes nothing.
func TestCertificatesAreReadAnew(t *testing.T) {
	old, fresh := newAuthority(t, "old"), newAuthority(t, "fresh")
	s := serveSecured(t, old)
	if _, err := s.ping(old, &old); err != nil {
		t.Fatal(err)
	}
	s.put(old, "second")
	if name, err := s.ping(old, &old); err != nil || name != "second" {
		t.Errorf("renewed: %q, %v", name, err)
	}
	cert, _ := old.sign(t, "third")
	s.write(s.files.Cert, cert) // its key is missing yet
	for range 3 {
		if name, err := s.ping(old, &old); err != nil || name != "second" {
			t.Errorf("with a certificate of another key: %q, %v", name, err)
		}
	}
	if n := strings.Count(s.said.String(), "not read"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, s.said)
	}
	if err := s.certs.Reload(); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("asked to read it: %v", err)
	}
	s.put(old, "fourth")
	s.write(s.files.CA, fresh.pem())
	if name, err := s.ping(old, &fresh); err != nil || name != "fourth" {
		t.Errorf("the other authority: %q, %v", name, err)
	}
	if _, err := s.ping(old, &old); err == nil {
		t.Error("a client of the authority that is no more was answered")
	}
	s.write(s.files.CA, []byte("no certificate"))
	if err := s.certs.Reload(); err == nil || !strings.Contains(err.Error(), "has no certificate in PEM form") {
		t.Errorf("no certificate: %v", err)
	}
	if err := os.Truncate(s.files.CA, 2<<20); err != nil {
		t.Fatal(err)
	}
	if err := s.certs.Reload(); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a large file: %v", err)
	}
	os.Remove(s.files.CA)
	if _, err := s.ping(old, &fresh); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

// TestGroup: a group that somebody named has to be there, the usual one need not.
func TestGroup(t *testing.T) {
	if _, err := user.LookupGroup(DefaultGroup); err != nil {
		if gid, err := groupID(DefaultGroup); err != nil || gid != -1 {
			t.Errorf("the usual group, which is not there: %d, %v", gid, err)
		}
	}
	for group, want := range map[string]int{"": -1, "0": 0, "4711": 4711, "root": 0} {
		if gid, err := groupID(group); err != nil || gid != want {
			t.Errorf("%q: %d, %v", group, gid, err)
		}
	}
	for _, group := range []string{"no-such-group", "-1", strconv.Itoa(1 << 31)} {
		if _, err := groupID(group); err == nil || !strings.Contains(err.Error(), "group "+group+" not found") {
			t.Errorf("%s: %v", group, err)
		}
	}
}
