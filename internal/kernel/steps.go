package kernel

import (
	"github.com/linkspan/linkspan/internal/desired"
)

// handler is what a pass does about the rows of one kind. What there is nothing to do
// about is nil.
type handler struct {
	name string // of the step
	// find returns what differs from what is wanted, and what is left over of ours. It
	// writes that down in the drift.
	find func(want desired.State) (wrong, strays []desired.Delta)
	put  func(group) // make new and changed rows so
	drop func(group) // remove what is no longer wanted
	then []then
	// early says that the rows are made beside the policies, before all others.
	early bool
}

// then is a part of making rows so that has to wait for those of another kind.
type then struct {
	after desired.Kind
	name  string
	put   func(group)
}

// handlers has what is done about each kind of objects of the kernel. Policies are not
// among them: the firewall is given all of them at a time.
func (p *pass) handlers() map[desired.Kind]handler {
	return map[desired.Kind]handler{
		desired.KindNamespace: handleNamespaces(p),
		desired.KindLink:      handleLinks(p),
		desired.KindSysctl:    handleSysctls(p),
		desired.KindLoopback:  handleLoopbacks(p),
		desired.KindFence:     handleFences(p),
		desired.KindAddr:      handleAddrs(p),
		desired.KindRoute:     handleRoutes(p),
		desired.KindRule:      handleRules(p),
		desired.KindFDB:       handleFDBs(p),
		desired.KindNeigh:     handleNeighs(p),
		desired.KindBalance:   handleBalances(p),
		desired.KindAnnounce:  handleAnnouncements(p),
		desired.KindUplink:    handleUplinks(p),
	}
}

// step is one step of a pass: rows of one kind, namespace by namespace.
type step struct {
	handler
	kind desired.Kind
}

// stepsOf puts handlers into the order of desired.Kinds, each followed by what waits
// for it. A link is down until its settings, its bridge and its addresses are there.
// Removal runs through the steps backwards.
func stepsOf(handlers map[desired.Kind]handler) []step {
	var out []step
	for _, kind := range desired.Kinds() {
		h, known := handlers[kind]
		if !known {
			continue
		}
		out = append(out, step{h, kind})
		for _, waiting := range desired.Kinds() {
			for _, t := range handlers[waiting].then {
				if t.after == kind {
					out = append(out, step{handler{name: t.name, put: t.put}, waiting})
				}
			}
		}
	}
	return out
}
