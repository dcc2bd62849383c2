package dockerapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxPEM bounds a file of certificates or a key, in bytes.
const maxPEM = 1 << 20

// CertificateFiles are PEM files: the certificate that the API shows on TCP, its key and, where clients are verified,
// the certificates that theirs are signed by.
type CertificateFiles struct {
	Cert, Key string
	CA        string // empty: clients are not asked for a certificate
}

// Certificates are what CertificateFiles say now. The files are looked at with every handshake and read again when one of
// them is another: who renews a certificate puts it in place, and that is all. What cannot be read, and a key that does not
// belong to its certificate, change nothing.
type Certificates struct {
	files   CertificateFiles
	log     *slog.Logger
	current atomic.Pointer[tls.Config]

	mu   sync.Mutex // one reads at a time
	seen stamps
}

// stamps tell one state of the files from another.
type stamps [3]stamp

type stamp struct {
	changed time.Time
	size    int64
	info    os.FileInfo
}

func (s stamp) same(other stamp) bool {
	if s.info == nil || other.info == nil {
		return s.info == nil && other.info == nil
	}
	return s.changed.Equal(other.changed) && s.size == other.size && os.SameFile(s.info, other.info)
}

// LoadCertificates reads the files. Errors: a file that is not there or cannot be meant.
func LoadCertificates(files CertificateFiles, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{files: files, log: log, seen: files.stamps()}
	config, err := files.load()
	if err != nil {
		return nil, fmt.Errorf("invalid TLS configuration: %w", err)
	}
	c.current.Store(config)
	return c, nil
}

// Reload reads the files whether they changed or not. After an error what was read before holds.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readLocked(c.files.stamps())
}

// config is what a listener is given: it asks for the certificates of the moment.
func (c *Certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c.refresh()
		return c.current.Load(), nil
	}}
}

// verifies tells whether clients must show a certificate.
func (c *Certificates) verifies() bool { return c != nil && c.files.CA != "" }

// refresh reads the files if one of them has changed.
func (c *Certificates) refresh() {
	now := c.files.stamps()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range now {
		if s.same(c.seen[i]) {
			continue
		}
		if err := c.readLocked(now); err != nil {
			c.log.Error("certificates of the API not read: the ones before stay", "op", "api.certificates", "err", err)
		} else {
			c.log.Info("certificates of the API read anew", "op", "api.certificates", "cert", c.files.Cert)
		}
		return
	}
}

// readLocked notes what the files were, before they are read: whoever changes them meanwhile is seen the next time.
func (c *Certificates) readLocked(now stamps) error {
	c.seen = now
	config, err := c.files.load()
	if err == nil {
		c.current.Store(config)
	}
	return err
}

func (f CertificateFiles) stamps() (out stamps) {
	for i, path := range []string{f.Cert, f.Key, f.CA} {
		if info, err := os.Stat(path); path != "" && err == nil {
			out[i] = stamp{info.ModTime(), info.Size(), info}
		}
	}
	return out
}

// load reads the files. No session is taken up again: each connection shows its certificate to the authorities of now.
func (f CertificateFiles) load() (*tls.Config, error) {
	cert, err := readPEM(f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readPEM(f.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s and key %s: %w", f.Cert, f.Key, err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true,
		NextProtos: []string{"http/1.1"}, // attach and exec take over the connection, which HTTP/2 has no words for
	}
	if f.CA == "" {
		return config, nil
	}
	authorities, err := readPEM(f.CA)
	if err != nil {
		return nil, err
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s has no certificate in PEM form", f.CA)
	}
	return config, nil
}

func readPEM(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(raw) > maxPEM {
		err = errors.New("is too large for certificates")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, nil
}
