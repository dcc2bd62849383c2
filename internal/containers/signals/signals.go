// Package signals reads the signals that requests and containers name.
package signals

import (
	"syscall"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/signal"

	"github.com/linkspan/linkspan/internal/model"
)

// Stop returns the signal that ends a container. What an image said that cannot
// be meant must not keep it from being stopped: then, as with Docker, it is SIGTERM.
func Stop(c *container.Config) syscall.Signal {
	sig, err := Parse(c.StopSignal)
	if err != nil || !signal.ValidSignalForPlatform(sig) {
		return syscall.SIGTERM
	}
	return sig
}

// Parse reads a signal by name or number; one that there is not is Invalid.
func Parse(name string) (syscall.Signal, error) {
	sig, err := signal.ParseSignal(name)
	if err != nil {
		return 0, model.Errorf(model.Invalid, "%w", err)
	}
	return sig, nil
}
