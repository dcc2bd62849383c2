// Package all is the list of built-in drivers. To add a driver, add a line.
package all

import (
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/driver/bridge"
	"github.com/linkspan/linkspan/internal/driver/host"
	"github.com/linkspan/linkspan/internal/driver/ipvlan"
	"github.com/linkspan/linkspan/internal/driver/macvlan"
	"github.com/linkspan/linkspan/internal/driver/null"
	"github.com/linkspan/linkspan/internal/driver/overlay"
	"github.com/linkspan/linkspan/internal/driver/remote"
)

// Settings are the daemon's words on all networks of a kind.
type Settings struct {
	Publish driver.PublishPolicy // where networks publish ports that do not say
	Respect string               // whose firewall judges published ports of networks that do not say
	Plugins bool                 // a driver that is not built in may be a plugin
}

// Drivers returns the built-in drivers as they are by default; the first is that of
// networks whose user names none.
func Drivers() driver.Set { return With(Settings{}) }

// With returns the built-in drivers, with settings.
func With(s Settings) driver.Set {
	out := driver.Set{
		bridge.Driver{Policy: s.Publish, Respect: s.Respect},
		host.Driver{},
		null.Driver{},
		macvlan.Driver{},
		ipvlan.Driver{},
		overlay.Driver{},
	}
	if s.Plugins {
		out = append(out, remote.Driver{})
	}
	return out
}
