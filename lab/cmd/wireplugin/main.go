// Wireplugin is somebody else's plugin for networks, written with Docker's own helpers for
// that (go-plugins-helpers): a driver called "wire", whose networks are bridges and whose
// endpoints are veth pairs, and an IPAM driver called "wireaddresses". What it made it finds
// again in the kernel, and which addresses it gave in a file, so that it may end and begin
// at any time.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/docker/go-plugins-helpers/ipam"
	"github.com/docker/go-plugins-helpers/network"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wireplugin:", err)
		os.Exit(1)
	}
}

// server is what serves one role.
type server interface{ Serve(net.Listener) error }

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: wireplugin FOLDER-OF-SOCKETS FILE-OF-ADDRESSES")
	}
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return err
	}
	a, err := open(args[1])
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	for name, s := range map[string]server{"wire": network.NewHandler(driver{}), "wireaddresses": ipam.NewHandler(a)} {
		path := filepath.Join(args[0], name+".sock")
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		go func() { failed <- s.Serve(l) }()
	}
	return <-failed
}
