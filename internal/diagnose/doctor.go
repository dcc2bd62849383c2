package diagnose

import (
	"fmt"

	"github.com/linkspan/linkspan/internal/evidence"
)

// Finding is what one check of a host came to.
type Finding struct {
	Check  string // "dns", "kernel/veth"
	Depth  int    // in the tree
	Status Status
	Found  string
	Mend   string `json:",omitempty"` // the command, or what else is to be done
	Whose  string `json:",omitempty"` // whom it is of, where that is somebody else
}

// check looks at one thing; a parent that is wrong silences its children, for what they
// would say follows from that.
type check struct {
	name     string
	needs    string // the look of evidence.Host that it judges by
	look     func(h evidence.Host) []Finding
	children []check
}

// checks is the tree.
func checks() []check {
	return []check{
		{name: "rights", look: rights, children: []check{
			{name: "kernel", needs: "kernel features", look: features},
			{name: "rules", needs: "rules", look: rules},
		}},
		{name: "cgroups", look: cgroups},
		{name: "programs", look: programs, children: []check{{name: "containerd", look: containerd}}},
		{name: "daemon", look: daemon, children: []check{
			{name: "drift", needs: "drift", look: drift},
			{name: "forwarding", look: forwarding},
			{name: "ways", look: ways},
			{name: "routes", needs: "links and routes", look: overlaps},
			{name: "uplink", needs: "links and routes", look: uplink},
			{name: "peers", look: peers},
			{name: "ports", look: claimed},
			{name: "descriptors", look: descriptors},
		}},
		{name: "dns", look: dns},
		{name: "connections", look: table},
		{name: "neighbours", needs: "links and routes", look: neighbourTable},
		{name: "leftovers", needs: "links and routes", look: leftovers},
		{name: "disk", look: disks},
		{name: "clock", look: clock},
	}
}

// Doctor says what is right and wrong with a host, in the order of the tree.
func Doctor(h evidence.Host) []Finding {
	return walk(h, checks(), 0)
}

func walk(h evidence.Host, tree []check, depth int) (out []Finding) {
	for _, c := range tree {
		silent := false
		found := c.look
		if why, failed := h.Failed[c.needs]; failed {
			found = func(evidence.Host) []Finding {
				return []Finding{{Status: Unknown, Found: "could not be looked at: " + why}}
			}
		}
		for _, f := range found(h) {
			f.Check, f.Depth = c.name, depth
			silent = silent || f.Status == Wrong
			out = append(out, f)
		}
		if !silent {
			out = append(out, walk(h, c.children, depth+1)...)
		}
	}
	return out
}

// Healthy tells whether nothing is wrong.
func Healthy(all []Finding) bool {
	for _, f := range all {
		if f.Status == Wrong {
			return false
		}
	}
	return true
}

func good(format string, args ...any) []Finding {
	return []Finding{{Status: OK, Found: fmt.Sprintf(format, args...)}}
}

// bad is something wrong, with what mends it.
func bad(mend, format string, args ...any) Finding {
	return Finding{Status: Wrong, Mend: mend, Found: fmt.Sprintf(format, args...)}
}

// odd is something that may be meant so.
func odd(mend, format string, args ...any) Finding {
	return Finding{Status: Note, Mend: mend, Found: fmt.Sprintf(format, args...)}
}

// or returns what was found, or that all is well.
func or(found []Finding, format string, args ...any) []Finding {
	if len(found) > 0 {
		return found
	}
	return good(format, args...)
}
