package packetfilter

import (
	"golang.org/x/net/bpf"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// maxProgram is BPF_MAXINSNS: what the kernel takes, in instructions.
const maxProgram = 4096

// outgoing is PACKET_OUTGOING of linux/if_packet.h; all else came in.
const outgoing = 4

// Compile returns the program for a packet(7) socket that hears all interfaces: of frames
// at these places that pass the filter it keeps up to snapLen bytes, of others nothing.
// Errors: Invalid, if it would be longer than the kernel takes.
func (f Filter) Compile(places []facts.Place, snapLen int) ([]bpf.Instruction, error) {
	var c code
	var conditions allOf
	if len(places) > 0 {
		conditions = append(conditions, anywhere(places))
	}
	if f.root != nil {
		conditions = append(conditions, f.root)
	}
	yes, no := c.label(), c.label()
	c.emit(conditions, yes, no)
	c.put(yes)
	c.items = append(c.items, item{plain: bpf.RetConstant{Val: uint32(snapLen)}})
	c.put(no)
	c.items = append(c.items, item{plain: bpf.RetConstant{Val: 0}})
	out := c.assemble()
	if len(out) > maxProgram {
		return nil, model.Errorf(model.Invalid, "the filter is too long: %d instructions, the kernel takes %d", len(out), maxProgram)
	}
	return out, nil
}

// anywhere is a frame at one of the places, in the direction that counts there.
func anywhere(places []facts.Place) node {
	out := anyOf{}
	for _, p := range places {
		at := allOf{test{load: bpf.LoadExtension{Num: bpf.ExtInterfaceIndex}, cond: bpf.JumpEqual, value: uint32(p.Index)}}
		leaves := test{load: bpf.LoadExtension{Num: bpf.ExtType}, cond: bpf.JumpEqual, value: outgoing}
		switch {
		case p.Incoming && p.Outgoing:
		case p.Outgoing:
			at = append(at, leaves)
		default:
			at = append(at, negated{leaves})
		}
		out = append(out, at)
	}
	return out
}

// label is a place in the program, by its number.
type label int

// item is an instruction, a conditional jump, a jump, or a label.
type item struct {
	plain bpf.Instruction
	// A conditional jump has yes and no; a label is marks.
	cond    bpf.JumpTest
	value   uint32
	yes, no label
	jumps   bool
	marks   label
	long    bool // yes and no are farther away than a conditional jump reaches
}

// code is a program in the making. Labels count from 1.
type code struct {
	items  []item
	labels label
}

func (c *code) label() label { c.labels++; return c.labels }
func (c *code) put(l label)  { c.items = append(c.items, item{marks: l}) }

// emit adds a condition, which goes on at yes or at no.
func (c *code) emit(n node, yes, no label) {
	switch n := n.(type) {
	case allOf:
		c.series(n, yes, func(next label) (label, label) { return next, no }, yes)
	case anyOf:
		c.series(n, no, func(next label) (label, label) { return yes, next }, no)
	case negated:
		c.emit(n.of, no, yes)
	case test:
		c.emitTest(n, yes, no)
	}
}

// series adds conditions one after the other; empty is where it goes on without any, and
// last what follows the last one.
func (c *code) series(parts []node, last label, way func(next label) (yes, no label), empty label) {
	if len(parts) == 0 {
		c.items = append(c.items, item{jumps: true, value: 0, yes: empty, no: empty})
		return
	}
	for i, part := range parts {
		next := last
		if i < len(parts)-1 {
			next = c.label()
		}
		yes, no := way(next)
		c.emit(part, yes, no)
		if i < len(parts)-1 {
			c.put(next)
		}
	}
}

func (c *code) emitTest(t test, yes, no label) {
	if t.ahead {
		c.items = append(c.items, item{plain: bpf.LoadMemShift{Off: header}})
	}
	c.items = append(c.items, item{plain: t.load})
	if t.mask != 0 {
		c.items = append(c.items, item{plain: bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: t.mask}})
	}
	c.items = append(c.items, item{jumps: true, cond: t.cond, value: t.value, yes: yes, no: no})
}

// size is how many instructions an item becomes.
func (i item) size() int {
	switch {
	case i.marks != 0:
		return 0
	case i.jumps && i.long:
		return 3
	}
	return 1
}

// assemble resolves the labels. A conditional jump reaches 255 instructions: those that
// lead farther become one to a jump beside it. That moves others apart, so it is looked
// again until nothing changes.
func (c *code) assemble() (out []bpf.Instruction) {
	at := make([]int, c.labels+1)
	for changed := true; changed; {
		changed = false
		position := 0
		for _, i := range c.items {
			if i.marks != 0 {
				at[i.marks] = position
			}
			position += i.size()
		}
		position = 0
		for k := range c.items {
			i := &c.items[k]
			if position += i.size(); i.jumps && !i.long && (at[i.yes]-position > 255 || at[i.no]-position > 255) {
				i.long, changed = true, true
			}
		}
	}
	for _, i := range c.items {
		switch here := len(out); {
		case i.marks != 0:
		case !i.jumps:
			out = append(out, i.plain)
		case i.long:
			out = append(out, bpf.JumpIf{Cond: i.cond, Val: i.value, SkipFalse: 1},
				bpf.Jump{Skip: uint32(at[i.yes] - here - 2)}, bpf.Jump{Skip: uint32(at[i.no] - here - 3)})
		default:
			out = append(out, bpf.JumpIf{Cond: i.cond, Val: i.value, SkipTrue: uint8(at[i.yes] - here - 1), SkipFalse: uint8(at[i.no] - here - 1)})
		}
	}
	return out
}
