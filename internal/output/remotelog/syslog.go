package remotelog

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/RackSec/srslog"

	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output/jsonlog"
)

// syslogLog sends to a syslog server.
type syslogLog struct{ to *srslog.Writer }

func openSyslog(o model.Output) (sender, error) {
	server, err := logoptions.ParseSyslog(o.Options)
	if err != nil {
		return nil, err
	}
	dial, err := dialer(server)
	if err != nil {
		return nil, err
	}
	w, err := srslog.DialWithCustomDialer("custom", server.Address, srslog.Priority(server.Facility<<3), o.Source.Tag, dial)
	if err != nil {
		return nil, err
	}
	w.SetFormatter(formatter(server.Format))
	if server.Network == "tcp+tls" && server.Format != "" && server.Format != "rfc3164" {
		w.SetFramer(srslog.RFC5425MessageLengthFramer)
	}
	return &syslogLog{w}, nil
}

// formatter returns how a message is written. The tag is the application's name too, where
// rsyslog looks for it.
func formatter(format string) srslog.Formatter {
	stamp := time.RFC3339
	switch format {
	case "":
		return srslog.UnixFormatter
	case "rfc3164":
		return srslog.RFC3164Formatter
	case "rfc5424micro":
		stamp = "2006-01-02T15:04:05.000000Z07:00"
	}
	return func(p srslog.Priority, hostname, tag, content string) string {
		return fmt.Sprintf("<%d>1 %s %s %s %d %s - %s", p, time.Now().Format(stamp), cmp.Or(hostname, "-"), tag, os.Getpid(), tag, content)
	}
}

// dialer returns what connects to a server.
func dialer(s logoptions.SyslogServer) (srslog.DialFunc, error) {
	d := net.Dialer{Timeout: deadline}
	connect := func() (net.Conn, error) { return d.Dial(s.Network, s.Address) }
	switch s.Network {
	case "":
		connect = func() (net.Conn, error) { return ownServer(d) }
	case "tcp+tls":
		settings, err := tlsSettings(s)
		if err != nil {
			return nil, err
		}
		connect = func() (net.Conn, error) { return tls.DialWithDialer(&d, "tcp", s.Address, settings) }
	}
	return func(string, string) (net.Conn, error) {
		c, err := connect()
		if err != nil {
			return nil, err
		}
		return timed{c}, nil
	}, nil
}

// ownServer connects to the host's own syslog server.
func ownServer(d net.Dialer) (net.Conn, error) {
	for _, network := range []string{"unixgram", "unix"} {
		for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
			if c, err := d.Dial(network, path); err == nil {
				return c, nil
			}
		}
	}
	return nil, errors.New("Unix syslog delivery error") //nolint:staticcheck // the words that Docker shows
}

func tlsSettings(s logoptions.SyslogServer) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.Unverified} //nolint:gosec // the user said so
	if s.CA != "" {
		raw, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, fmt.Errorf("could not read CA certificate %q: %w", s.CA, err)
		}
		if out.RootCAs = x509.NewCertPool(); !out.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("failed to append certificates from PEM file: %q", s.CA)
		}
	}
	if s.Cert != "" || s.Key != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		if err != nil {
			return nil, fmt.Errorf("could not load X509 key pair: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// timed is a connection on which no write lasts for ever.
type timed struct{ net.Conn }

// Write implements io.Writer.
func (t timed) Write(p []byte) (int, error) {
	if err := t.SetWriteDeadline(time.Now().Add(deadline)); err != nil {
		return 0, err
	}
	return t.Conn.Write(p)
}

func (s *syslogLog) send(e jsonlog.Entry) error {
	line := string(bytes.TrimSuffix(e.Line, []byte("\n")))
	switch {
	case line == "":
		return nil
	case e.Stream == "stderr":
		return s.to.Err(line)
	}
	return s.to.Info(line)
}

func (s *syslogLog) close() error { return s.to.Close() }
