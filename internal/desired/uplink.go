package desired

// Uplink makes an interface of the host a port of one of its bridges, so that whatever is on
// the bridge is on the interface's network. It is only taken if nothing of the host's own
// depends on it, and given back as it was.
type Uplink struct {
	Link   string // the interface
	Bridge string
}

func (r Uplink) Key() Key      { return key(KindUplink, r.Link) }
func (r Uplink) Space() string { return HostNamespace }

func (r Uplink) String() string { return "uplink " + r.Link + " of " + r.Bridge }
