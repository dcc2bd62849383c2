// Package netplugin checks both ends of version 1 of Docker's plugin protocol for networks
// (https://docs.docker.com/engine/extend/plugins_network/): NetworkDriver.* and IpamDriver.*.
//
//	Plugin ─▶ Run: a case at a time, on its socket ─▶ report      does a plugin keep to it?
//	engine ─▶ Checker ─▶ Driver, or any plugin     ─▶ report      does an engine?
//
// A Checker stands before a plugin, hands every call on, and judges each by what was asked
// and answered before. Driver is a plugin that keeps to the protocol and makes nothing: it
// is what a Checker has behind it if nothing else is there.
package netplugin
