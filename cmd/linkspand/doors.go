package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/dockerapi"
	"github.com/linkspan/linkspan/internal/dockerapi/private"
)

// door is one handler and what leads to it.
type door struct {
	handler http.Handler
	open    func() ([]net.Listener, error)
}

// doors are all by which somebody may come in: the API, the private socket, which is root's alone, and metrics where they
// are asked for.
func doors(c config.Config, certificates *dockerapi.Certificates, api, own http.Handler, metrics prometheus.Gatherer) []door {
	access := dockerapi.Access{Group: c.Group, Certificates: certificates, Insecure: c.Insecure}
	out := []door{
		{api, func() ([]net.Listener, error) { return listenAll(c.Hosts, access) }},
		{own, func() ([]net.Listener, error) {
			return dockerapi.Listen("unix://"+filepath.Join(c.ExecRoot, "private.sock"), dockerapi.Access{})
		}},
	}
	if c.MetricsAddr != "" {
		out = append(out, door{private.MetricsHandler(metrics), func() ([]net.Listener, error) {
			l, err := net.Listen("tcp", c.MetricsAddr)
			if err != nil {
				return nil, fmt.Errorf("metrics-addr: %w", err)
			}
			return []net.Listener{l}, nil
		}})
	}
	return out
}

// listenAll opens every host, or none.
func listenAll(hosts []string, access dockerapi.Access) ([]net.Listener, error) {
	var out []net.Listener
	for _, host := range hosts {
		l, err := dockerapi.Listen(host, access)
		out = append(out, l...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("failed to load listeners: %w", err), closeAll(out))
		}
	}
	return out, nil
}

// serveDoors opens all doors, calls ready, and answers until ctx ends. One that fails ends the others.
func serveDoors(ctx context.Context, all []door, log *slog.Logger, ready func()) error {
	open := make([][]net.Listener, len(all))
	for i, d := range all {
		var err error
		if open[i], err = d.open(); err != nil {
			for _, l := range open {
				err = errors.Join(err, closeAll(l))
			}
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(all))
	for i, d := range all {
		go func() {
			failed <- dockerapi.Serve(ctx, d.handler, log, open[i]...)
			cancel()
		}()
	}
	ready()
	var errs []error
	for range all {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

func closeAll(listeners []net.Listener) error {
	var failed []error
	for _, l := range listeners {
		failed = append(failed, l.Close())
	}
	return errors.Join(failed...)
}

// loadCertificates reads those of the API on TCP, if it is to have any.
func loadCertificates(t config.TLS, log *slog.Logger) (*dockerapi.Certificates, error) {
	if !t.Enabled {
		return nil, nil
	}
	files := dockerapi.CertificateFiles{Cert: t.Cert, Key: t.Key}
	if t.Verify {
		files.CA = t.CA
	}
	return dockerapi.LoadCertificates(files, log)
}

// renewCertificates reads them again; after an error the ones before stay.
func renewCertificates(c *dockerapi.Certificates) error {
	if c == nil {
		return nil
	}
	return c.Reload()
}

// openHosts returns the addresses at which whoever comes is the machine's master.
func openHosts(c config.Config) []string {
	var out []string
	for _, host := range c.Hosts {
		address, tcp := strings.CutPrefix(host, "tcp://")
		switch {
		case !tcp || c.TLS.Enabled && c.TLS.Verify:
		case c.TLS.Enabled:
			out = append(out, "https://"+address)
		default:
			out = append(out, "http://"+address)
		}
	}
	return out
}
