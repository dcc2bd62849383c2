package buildkitd

import "testing"

// TestNamedNetworks: a network is known by its hostname as long as a build asks for it.
func TestNamedNetworks(t *testing.T) {
	var n namedNetworks
	first, second, other := n.hold("web"), n.hold("web"), n.hold("db")
	if name, ok := n.at(hostnameOn("web")); !ok || name != "web" {
		t.Errorf("web is %q, %v", name, ok)
	}
	first()
	if name, ok := n.at(hostnameOn("web")); !ok || name != "web" {
		t.Errorf("web is %q, %v while a build is on it", name, ok)
	}
	second()
	if name, ok := n.at(hostnameOn("web")); ok {
		t.Errorf("%q is known after its builds", name)
	}
	if name, ok := n.at(hostnameOn("db")); !ok || name != "db" {
		t.Errorf("db is %q, %v", name, ok)
	}
	other()
	if _, ok := n.at(""); ok {
		t.Error("no hostname stands for a network")
	}
}
