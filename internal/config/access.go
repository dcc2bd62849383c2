package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// TLS is what the API shows and asks for on TCP.
type TLS struct {
	// Enabled is --tls, which --tlsverify implies, whatever its value.
	Enabled bool
	// Verify says that clients must show a certificate which CA has signed.
	Verify bool
	// CA, Cert and Key are PEM files. CA is read only with Verify.
	CA, Cert, Key string
}

const (
	// defaultSocket is where the docker command looks.
	defaultSocket = "unix:///run/docker.sock"
	// defaultHTTPHost and its ports are those of a tcp:// that does not say (IANA's service names docker and docker-s).
	defaultHTTPHost = "localhost"
	defaultPort     = "2375"
	defaultTLSHost  = "tcp://localhost:2376"
)

// define declares the flags of TLS. As with dockerd, the files lie where the docker command has its own unless somebody says.
func (t *TLS) define(flags *pflag.FlagSet) {
	folder := certificateFolder(os.Getenv)
	flags.BoolVar(&t.Enabled, "tls", false, "use TLS on TCP, and verify clients unless --tlsverify=false; implied by --tlsverify")
	flags.BoolVar(&t.Verify, "tlsverify", os.Getenv("DOCKER_TLS_VERIFY") != "", "use TLS on TCP, and verify clients' certificates")
	flags.StringVar(&t.CA, "tlscacert", filepath.Join(folder, "ca.pem"), "certificates that clients' are signed by")
	flags.StringVar(&t.Cert, "tlscert", filepath.Join(folder, "cert.pem"), "certificate of the daemon")
	flags.StringVar(&t.Key, "tlskey", filepath.Join(folder, "key.pem"), "key of that certificate")
}

// certificateFolder returns where certificates are by default.
func certificateFolder(env func(string) string) string {
	if folder := env("DOCKER_CERT_PATH"); folder != "" {
		return folder
	}
	if folder := env("DOCKER_CONFIG"); folder != "" {
		return folder
	}
	return filepath.Join(env("HOME"), ".docker")
}

// finish applies what one of the two switches says of the other. given tells which flags somebody set.
func (t TLS) finish(given map[string]string) TLS {
	if _, ok := given["tlsverify"]; ok || t.Verify {
		t.Enabled = true
	} else {
		t.Verify = t.Enabled
	}
	return t
}

// hosts returns where the API is to listen, each once, with what dockerd adds to an address that leaves something out.
// Without any it is the default socket or, with TLS, a port of this machine's.
func hosts(asked []string, tls bool) ([]string, error) {
	if len(asked) == 0 {
		asked = []string{""}
	}
	var out []string
	for _, host := range asked {
		whole, err := hostOf(strings.TrimSpace(host), tls)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, whole) {
			out = append(out, whole)
		}
	}
	return out, nil
}

func hostOf(host string, tls bool) (string, error) {
	proto, address, ok := strings.Cut(host, "://")
	switch {
	case host == "" && tls:
		return defaultTLSHost, nil
	case host == "", host == "unix://":
		return defaultSocket, nil
	case !ok:
		return hostOf("tcp://"+host, tls)
	case proto == "tcp":
		return tcpHost(host)
	case proto == "unix" && strings.Contains(address, "://"):
		return "", fmt.Errorf("invalid bind address (%s): invalid unix address: %s", host, address)
	case proto == "unix", proto == "fd":
		return host, nil
	}
	return "", fmt.Errorf("invalid bind address (%s): unsupported proto '%s': use unix://, tcp:// or fd://", host, proto)
}

// tcpHost fills in the name or the port that a tcp:// address leaves out.
func tcpHost(host string) (string, error) {
	u, err := url.Parse(host)
	switch {
	case err != nil:
		return "", fmt.Errorf("invalid bind address (%s): %w", host, err)
	case u.Path != "":
		return "", fmt.Errorf("invalid bind address (%s): should not contain a path element", host)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "", fmt.Errorf("invalid bind address (%s): want tcp://address:port", host)
	}
	name, port := u.Hostname(), u.Port()
	if strings.Contains(name, ":") && !strings.HasPrefix(u.Host, "[") {
		return "", fmt.Errorf("invalid bind address (%s): want tcp://address:port, an IPv6 address in brackets", host)
	}
	if name == "" && port == "" {
		name = defaultHTTPHost
	}
	if port == "" {
		port = defaultPort
	}
	return "tcp://" + net.JoinHostPort(name, port), nil
}

// checkAccess refuses addresses at which whoever comes would be the machine's master: on TCP, clients are verified. The
// exception is asked for in words, and for this machine's own programs only.
func (c Config) checkAccess() error {
	if c.TLS.Enabled && c.TLS.Verify {
		return nil
	}
	for _, host := range c.Hosts {
		address, tcp := strings.CutPrefix(host, "tcp://")
		if !tcp || c.Insecure && loopback(address) {
			continue
		}
		way := "give --tlsverify with --tlscacert, --tlscert and --tlskey, or use unix:// or ssh://"
		switch {
		case c.Insecure:
			way += "; --insecure is for addresses of this machine alone, such as 127.0.0.1"
		case loopback(address):
			way += ", or give --insecure if every program and user of this machine may be root"
		}
		return fmt.Errorf("%s: Binding to IP address without --tlsverify is insecure and gives root access on this machine to everyone who has access to your network: %s", host, way)
	}
	return nil
}

// hostPort tells whether text is an address and a port to listen at. The address may be left out.
func hostPort(text string) bool {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// loopback tells whether only this machine reaches host:port.
func loopback(address string) bool {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if name == defaultHTTPHost {
		return true
	}
	at, err := netip.ParseAddr(name)
	return err == nil && at.Unmap().IsLoopback()
}
