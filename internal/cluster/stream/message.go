package stream

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// maxMessage bounds a message, in bytes; maxBatch how many rows are sent in one.
	maxMessage = 4 << 20
	maxBatch   = 128
)

// hello begins a session of a host.
type hello struct {
	// Epoch grows with every session of the host: of two the later counts.
	Epoch uint64
}

// message is what either side says. One with nothing in it says that the side is there.
type message struct {
	Hello *hello `json:",omitempty"`
	// Networks are those that the host takes part in.
	Networks *[]model.NetworkID `json:",omitempty"`
	Put      []Row              `json:",omitempty"`
	Drop     []ID               `json:",omitempty"`
	// Synced says that what came so far is all that there is.
	Synced bool `json:",omitempty"`
	// Whole are hosts of which the manager has all rows, Gone those that have left.
	Whole []string `json:",omitempty"`
	Gone  []string `json:",omitempty"`
	// Bye says that the host leaves the swarm.
	Bye bool `json:",omitempty"`
}

// check refuses what no honest side says.
func (m message) check() error {
	if len(m.Put) > maxBatch || len(m.Drop) > maxRows || len(m.Whole)+len(m.Gone) > maxRows || m.Networks != nil && len(*m.Networks) > maxNetworks {
		return fmt.Errorf("a message of %d and %d rows", len(m.Put), len(m.Drop))
	}
	for _, r := range m.Put {
		if !valid(r.Remote) {
			return fmt.Errorf("row %.64q of network %.64q is none", r.Endpoint, r.Network)
		}
	}
	return nil
}

// read returns the next message. Errors: io.EOF at the end.
func read(r io.Reader) (m message, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return m, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxMessage {
		return m, fmt.Errorf("a message of %d bytes", n)
	}
	limited := &io.LimitedReader{R: r, N: int64(n)}
	if err := json.NewDecoder(limited).Decode(&m); err != nil {
		return m, fmt.Errorf("read a message: %w", err)
	}
	if _, err := io.Copy(io.Discard, limited); err != nil {
		return m, err
	}
	return m, m.check()
}

// encode returns a message as it is sent.
func encode(m message) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(text) > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", len(text))
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...), nil
}

// wire is a connection that messages are sent over, each with a deadline.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
}

func newWire(c net.Conn) wire { return wire{c, bufio.NewReader(c)} }

func (w wire) read() (message, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return message{}, err
	}
	return read(w.in)
}

func (w wire) write(m message) error {
	out, err := encode(m)
	if err != nil {
		return err
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = w.conn.Write(out)
	return err
}
