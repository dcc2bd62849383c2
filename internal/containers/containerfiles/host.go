package containerfiles

import (
	"errors"
	"fmt"
	"os"

	"github.com/linkspan/linkspan/internal/names"
	"github.com/linkspan/linkspan/internal/resolvconf"
)

// HostHosts returns the text of the host's hosts file at path; a host may have none.
func HostHosts(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the host's hosts file: %w", err)
	}
	return text, nil
}

// HostResolvConf returns the text of the host's resolv.conf, and where it is: at path, or
// where systemd-resolved keeps the true one. A
// host without one is a host without servers.
func HostResolvConf(path string) (text []byte, at string, err error) {
	at = path
	text, err = os.ReadFile(at)
	if err == nil {
		if other := names.HostPath(text); other != resolvconf.Path {
			at = other
			text, err = os.ReadFile(at)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return text, at, err
}
