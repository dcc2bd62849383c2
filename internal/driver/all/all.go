// Package all is the list of built-in drivers. To add a driver, add a line.
package all

import (
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/driver/bridge"
	"github.com/linkspan/linkspan/internal/driver/host"
	"github.com/linkspan/linkspan/internal/driver/null"
)

// Drivers returns the built-in drivers; the first is that of networks whose user names
// none.
func Drivers() driver.Set {
	return driver.Set{
		bridge.Driver{},
		host.Driver{},
		null.Driver{},
	}
}
