package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"
)

// block is one block of a file, read again.
type block struct {
	kind uint32
	body []byte
}

// blocks reads a file as the draft says: both lengths agree, and each is a multiple of four.
func blocks(t *testing.T, file []byte) (out []block) {
	t.Helper()
	for len(file) > 0 {
		if len(file) < 12 {
			t.Fatalf("%d bytes are no block", len(file))
		}
		kind, length := binary.LittleEndian.Uint32(file), binary.LittleEndian.Uint32(file[4:])
		if length%4 != 0 || int(length) > len(file) || binary.LittleEndian.Uint32(file[length-4:]) != length {
			t.Fatalf("block of type %#x with length %d of %d", kind, length, len(file))
		}
		out = append(out, block{kind, file[8 : length-4]})
		file = file[length:]
	}
	return out
}

// options reads those behind the fixed part of a block.
func options(t *testing.T, b []byte) map[uint16]string {
	t.Helper()
	out := map[uint16]string{}
	for len(b) >= 4 {
		code, length := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if code == 0 {
			return out
		}
		if _, again := out[code]; again || 4+length > len(b) {
			t.Fatalf("option %d: again, or longer than its block", code)
		}
		out[code] = string(b[4 : 4+length])
		b = b[4+(length+3)/4*4:]
	}
	t.Fatal("the options have no end")
	return nil
}

func TestFile(t *testing.T) {
	var file bytes.Buffer
	w, err := Begin(&file, "linkspan 1", "Linux")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 123_456_789)
	for i, name := range []string{"veth1", "eth0"} {
		if n, err := w.Interface(Interface{Name: name, Description: "container shop ü", Filter: "tcp", SnapLen: 1 << 18}); err != nil || n != i {
			t.Fatal(n, err)
		}
	}
	large := bytes.Repeat([]byte{1}, 200_001)
	for _, err := range []error{
		w.Packet(Packet{Interface: 1, At: at, Data: []byte("12345"), Length: 99, Direction: Outbound}),
		w.Packet(Packet{Interface: 0, At: at, Data: large, Length: len(large)}),
		w.Statistics(Statistics{Interface: 1, Start: at, End: at.Add(time.Second), Received: 2, Dropped: 1}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if w.Packet(Packet{Interface: 2}) == nil || w.Statistics(Statistics{Interface: -1}) == nil {
		t.Error("an interface that is not there was taken")
	}
	all := blocks(t, file.Bytes())
	kinds := []uint32{sectionBlock, interfaceBlock, interfaceBlock, packetBlock, packetBlock, statisticsBlock}
	if len(all) != len(kinds) {
		t.Fatalf("%d blocks", len(all))
	}
	for i, want := range kinds {
		if all[i].kind != want {
			t.Errorf("block %d is %#x, want %#x", i, all[i].kind, want)
		}
	}
	if o := options(t, all[0].body[16:]); o[sectionOS] != "Linux" || o[sectionApplication] != "linkspan 1" || binary.LittleEndian.Uint32(all[0].body) != byteOrder {
		t.Errorf("section: %v", o)
	}
	if o := options(t, all[1].body[8:]); o[interfaceName] != "veth1" || o[interfaceDescription] != "container shop ü" || o[interfaceFilter] != "\x00tcp" || o[interfaceResolution] != "\x09" {
		t.Errorf("interface: %v", o)
	}
	small := all[3].body
	nanos := int64(binary.LittleEndian.Uint32(small[4:]))<<32 | int64(binary.LittleEndian.Uint32(small[8:]))
	if binary.LittleEndian.Uint32(small) != 1 || nanos != at.UnixNano() || binary.LittleEndian.Uint32(small[12:]) != 5 || binary.LittleEndian.Uint32(small[16:]) != 99 ||
		string(small[20:25]) != "12345" || options(t, small[28:])[packetFlags] != "\x02\x00\x00\x00" {
		t.Errorf("packet: %x", small)
	}
	if body := all[4].body; binary.LittleEndian.Uint32(body[12:]) != 200_001 || !bytes.Equal(body[20:20+200_001], large) || len(body) != 20+200_004 {
		t.Errorf("the large packet is not whole: %d bytes", len(body))
	}
	o := options(t, all[5].body[12:])
	if binary.LittleEndian.Uint64([]byte(o[statisticsReceived])) != 2 || binary.LittleEndian.Uint64([]byte(o[statisticsDropped])) != 1 || len(o[statisticsStart]) != 8 {
		t.Errorf("statistics: %v", o)
	}
}

// broken is a file that takes nothing.
type broken struct{}

// Write implements io.Writer.
func (broken) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestBrokenFile(t *testing.T) {
	if _, err := Begin(broken{}, "", ""); err == nil || err.Error() != "full" {
		t.Error(err)
	}
}

// FuzzTexts: whatever names there are, the file can be read.
func FuzzTexts(f *testing.F) {
	f.Add("name", "description", "filter", []byte("packet"))
	f.Add(strings.Repeat("x", 70000), "", strings.Repeat("y", 70000), []byte{})
	f.Fuzz(func(t *testing.T, name, description, filter string, data []byte) {
		var file bytes.Buffer
		w, err := Begin(&file, name, description)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Interface(Interface{Name: name, Description: description, Filter: filter}); err != nil {
			t.Fatal(err)
		}
		if err := w.Packet(Packet{Data: data}); err != nil {
			t.Fatal(err)
		}
		all := blocks(t, file.Bytes())
		if len(all) != 3 {
			t.Fatalf("%d blocks", len(all))
		}
		if got := options(t, all[1].body[8:])[interfaceName]; got != name[:min(len(name), MaxText)] {
			t.Errorf("name %q", got)
		}
	})
}
