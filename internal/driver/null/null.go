// Package null is the driver of the network "none": a container there has a
// namespace with nothing but loopback, so nothing is planned for it.
package null

import (
	"iter"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// Driver is the null driver.
type Driver struct{}

// Name implements driver.Driver.
func (Driver) Name() string { return driver.Placeholder }

// Traits implements driver.Driver.
func (Driver) Traits() driver.Traits { return driver.Traits{Single: true, Alone: true} }

// Validate implements driver.Driver.
func (Driver) Validate(model.Network, iter.Seq[model.Network]) error { return nil }

// Plan implements driver.Driver.
func (Driver) Plan(driver.View) ([]desired.Row, error) { return nil, nil }
