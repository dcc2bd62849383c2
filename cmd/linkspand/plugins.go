package main

import (
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/plugins"
)

// pluginWork is what the daemon does about other people's plugins.
type pluginWork struct{ *daemon }

// changed tells of a plugin that is away, or there again. The registry has logged it.
func (d pluginWork) changed(c plugins.Change) {
	action, why := events.ActionReturned, ""
	if !c.Plugin.Active {
		action, why = events.ActionLost, plugins.Said(c.Why.Error())
	}
	d.events.Publish(events.Plugin(action, c.Plugin.Name, c.Plugin.Address, why))
}
