package facts

// Plugin is somebody else's plugin on this host, as far as it is known.
type Plugin struct {
	Name    string
	Address string // "unix:///run/docker/plugins/x.sock"
	// Implements are its roles, such as "NetworkDriver", once it was asked.
	Implements []string
	Active     bool // it answered the last time
}
