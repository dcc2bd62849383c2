// Package pcapng writes captured packets in the format PCAP Next Generation
// (draft-ietf-opsawg-pcapng): one section, interfaces with names and descriptions, packets
// with times in nanoseconds and their direction, and what was counted of each interface.
//
//	Begin ─▶ Interface … ─▶ Packet … ─▶ Interface … ─▶ Packet … ─▶ Statistics …
//
// It must not know where packets come from, and it keeps none.
package pcapng

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Types of blocks (section 4 of the draft), and the magic number of byte order.
const (
	sectionBlock    uint32 = 0x0a0d0d0a
	interfaceBlock  uint32 = 1
	statisticsBlock uint32 = 5
	packetBlock     uint32 = 6
	byteOrder       uint32 = 0x1a2b3c4d
)

// Options of blocks.
const (
	optEnd = 0

	sectionOS, sectionApplication = 3, 4

	interfaceName, interfaceDescription, interfaceResolution, interfaceFilter = 2, 3, 9, 11
	nanoseconds                                                               = 9 // 10^-9 s

	packetFlags = 2

	statisticsStart, statisticsEnd, statisticsReceived, statisticsDropped = 2, 3, 4, 5
)

// linkEthernet is LINKTYPE_ETHERNET.
const linkEthernet = 1

// MaxText bounds a name or a description, in bytes; longer ones are cut.
const MaxText = 1024

// Direction is which way a packet went, as the interface sees it.
type Direction uint32

// The directions, as epb_flags has them.
const (
	Unknown  Direction = 0
	Inbound  Direction = 1
	Outbound Direction = 2
)

// Interface is one that packets were captured at.
type Interface struct {
	Name, Description string
	Filter            string // as the user wrote it
	SnapLen           int    // bytes of a packet that are kept
}

// Packet is one frame.
type Packet struct {
	Interface int // number that Writer.Interface has returned
	At        time.Time
	Data      []byte // what was kept of it
	Length    int    // of all of it, in bytes
	Direction Direction
}

// Statistics is what was counted of one interface.
type Statistics struct {
	Interface         int
	Start, End        time.Time
	Received, Dropped uint64 // packets; those that the reader was too slow for
}

// Writer writes blocks, each with one call of the writer below it. It must not be used by
// several goroutines at a time.
type Writer struct {
	to         io.Writer
	interfaces int
	block      []byte
}

// Begin starts a section. application and system are who writes, and on what.
func Begin(to io.Writer, application, system string) (*Writer, error) {
	w := &Writer{to: to}
	w.open(sectionBlock)
	w.uint32(byteOrder)
	w.uint16(1) // version 1.0
	w.uint16(0)
	w.uint64(^uint64(0)) // the section's length is not known
	w.text(sectionOS, system)
	w.text(sectionApplication, application)
	w.endOptions()
	return w, w.close()
}

// Interface adds an interface and returns its number.
func (w *Writer) Interface(i Interface) (number int, err error) {
	w.open(interfaceBlock)
	w.uint16(linkEthernet)
	w.uint16(0)
	w.uint32(uint32(i.SnapLen))
	w.text(interfaceName, i.Name)
	w.text(interfaceDescription, i.Description)
	w.option(interfaceResolution, []byte{nanoseconds})
	if i.Filter != "" {
		w.option(interfaceFilter, append([]byte{0}, cut(i.Filter)...)) // 0: in libpcap's words
	}
	w.endOptions()
	w.interfaces++
	return w.interfaces - 1, w.close()
}

// Packet adds a packet of an interface that is there.
func (w *Writer) Packet(p Packet) error {
	if err := w.known(p.Interface); err != nil {
		return err
	}
	w.open(packetBlock)
	w.uint32(uint32(p.Interface))
	w.time(p.At)
	w.uint32(uint32(len(p.Data)))
	w.uint32(uint32(max(p.Length, len(p.Data))))
	w.padded(p.Data)
	if p.Direction != Unknown {
		w.option(packetFlags, binary.LittleEndian.AppendUint32(nil, uint32(p.Direction)))
		w.endOptions()
	}
	return w.close()
}

// Statistics adds what was counted of an interface.
func (w *Writer) Statistics(s Statistics) error {
	if err := w.known(s.Interface); err != nil {
		return err
	}
	w.open(statisticsBlock)
	w.uint32(uint32(s.Interface))
	w.time(s.End)
	w.option(statisticsStart, moment(s.Start))
	w.option(statisticsEnd, moment(s.End))
	w.option(statisticsReceived, binary.LittleEndian.AppendUint64(nil, s.Received))
	w.option(statisticsDropped, binary.LittleEndian.AppendUint64(nil, s.Dropped))
	w.endOptions()
	return w.close()
}

func (w *Writer) known(number int) error {
	if number < 0 || number >= w.interfaces {
		return fmt.Errorf("interface %d is not among the %d of the section", number, w.interfaces)
	}
	return nil
}

// open begins a block: its type, and room for its length.
func (w *Writer) open(kind uint32) {
	w.block = w.block[:0]
	w.uint32(kind)
	w.uint32(0)
}

// close sends the block, its length at both ends.
func (w *Writer) close() error {
	length := uint32(len(w.block) + 4)
	binary.LittleEndian.PutUint32(w.block[4:], length)
	w.uint32(length)
	_, err := w.to.Write(w.block)
	return err
}

func (w *Writer) uint16(v uint16) { w.block = binary.LittleEndian.AppendUint16(w.block, v) }
func (w *Writer) uint32(v uint32) { w.block = binary.LittleEndian.AppendUint32(w.block, v) }
func (w *Writer) uint64(v uint64) { w.block = binary.LittleEndian.AppendUint64(w.block, v) }

// padded adds bytes, and zeroes up to the next multiple of four.
func (w *Writer) padded(b []byte) {
	w.block = append(w.block, b...)
	for len(w.block)%4 != 0 {
		w.block = append(w.block, 0)
	}
}

func (w *Writer) option(code int, value []byte) {
	w.uint16(uint16(code))
	w.uint16(uint16(len(value)))
	w.padded(value)
}

func (w *Writer) text(code int, value string) {
	if value != "" {
		w.option(code, []byte(cut(value)))
	}
}

func (w *Writer) endOptions() { w.option(optEnd, nil) }

// time adds nanoseconds since 1970, the higher half first.
func (w *Writer) time(t time.Time) { w.block = append(w.block, moment(t)...) }

func moment(t time.Time) []byte {
	n := uint64(t.UnixNano())
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(n>>32)), uint32(n))
}

func cut(text string) string { return text[:min(len(text), MaxText)] }
