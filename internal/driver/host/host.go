// Package host is the driver of the network "host": containers share the
// host's own network namespace, so nothing is planned for them.
package host

import (
	"iter"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// Driver is the host driver.
type Driver struct{}

// Name implements driver.Driver.
func (Driver) Name() string { return "host" }

// Traits implements driver.Driver.
func (Driver) Traits() driver.Traits { return driver.Traits{Single: true, HostsOwn: true} }

// Validate implements driver.Driver.
func (Driver) Validate(model.Network, iter.Seq[model.Network]) error { return nil }

// Plan implements driver.Driver.
func (Driver) Plan(driver.View) ([]desired.Row, error) { return nil, nil }
