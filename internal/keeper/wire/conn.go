// Package wire is the language that the daemon and the keeper speak: frames of
// JSON on a unix socket, with descriptors beside them.
//
// It promises that whoever reads is never made to keep more than a frame's limit,
// and that descriptors which nobody took are closed. It must not know what a
// message is for. A keeper may be older or newer than its daemon, so that what
// a version says is frozen: new fields may be added, and are ignored by who does
// not know them; nothing is renamed or removed. Version 2 says all that version 1
// does, and names kinds of rows and of errors, which are numbers there.
//
//	frame  := length (4 bytes, big-endian) descriptors (2 bytes) body
//	stream := length (4 bytes, big-endian) kind (1 byte) data
package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Version is the version of the language. Keepers of another version are
// replaced; handing over is understood by all.
const Version = 2

const (
	headerLen = 6
	// maxFrame bounds a frame's body, in bytes. What may be longer goes in parts.
	maxFrame = 64 << 20
	// maxFiles is how many descriptors the kernel passes at once (SCM_MAX_FD,
	// unix(7)).
	maxFiles = 253
	// readLen is how much is asked of the socket at once, in bytes.
	readLen = 64 << 10
)

// ErrTooLarge is the error of a message that nobody would receive. Nothing was sent,
// and the connection is as good as before.
var ErrTooLarge = errors.New("message is too large")

// Conn passes frames. One goroutine may send while another receives; several may
// send.
type Conn struct {
	*net.UnixConn
	sending sync.Mutex

	// Of the receiver alone.
	buffer []byte     // read and not yet used
	files  []*os.File // received and not yet taken
}

// NewConn returns a Conn on a socket that it closes.
func NewConn(c *net.UnixConn) *Conn { return &Conn{UnixConn: c} }

// Dial connects to who listens at path.
func Dial(path string) (*Conn, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return NewConn(c), nil
}

// Send writes a frame. The receiver gets duplicates of files, at most 253; the
// sender keeps its own.
func (c *Conn) Send(body any, files ...*os.File) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("pack message: %w", err)
	}
	if len(raw) > maxFrame || len(files) > maxFiles {
		return fmt.Errorf("message of %d bytes with %d descriptors: %w", len(raw), len(files), ErrTooLarge)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, headerLen+len(raw)), uint32(len(raw)))
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(files)))
	frame = append(frame, raw...)
	c.sending.Lock()
	defer c.sending.Unlock()
	if len(files) == 0 {
		_, err = c.Write(frame)
		return err
	}
	fds, err := descriptors(files)
	if err != nil {
		return err
	}
	n, _, err := c.WriteMsgUnix(frame, syscall.UnixRights(fds...), nil)
	if err == nil && n < len(frame) { // the descriptors went with the first part
		_, err = c.Write(frame[n:])
	}
	return err
}

// descriptors returns the numbers of open files, without what File.Fd does to
// them: it makes them block.
func descriptors(files []*os.File) ([]int, error) {
	out := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		if err := raw.Control(func(fd uintptr) { out[i] = int(fd) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Receive reads a frame into body and returns the descriptors that came with it,
// which the caller closes. io.EOF is the end between two frames.
func (c *Conn) Receive(body any) ([]*os.File, error) {
	if err := c.fill(headerLen); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(c.buffer)
	count := int(binary.BigEndian.Uint16(c.buffer[4:]))
	if length > maxFrame || count > maxFiles {
		return nil, fmt.Errorf("message of %d bytes with %d descriptors is too large", length, count)
	}
	if err := c.fill(headerLen + int(length)); err != nil {
		return nil, unexpected(err)
	}
	if len(c.files) < count {
		return nil, fmt.Errorf("message came with %d descriptors instead of %d", len(c.files), count)
	}
	files := c.files[:count:count]
	c.files = c.files[count:]
	err := json.Unmarshal(c.buffer[headerLen:headerLen+int(length)], body)
	c.buffer = c.buffer[headerLen+int(length):]
	if err != nil {
		CloseAll(files)
		return nil, fmt.Errorf("unpack message: %w", err)
	}
	return files, nil
}

// fill reads until n bytes are in the buffer.
func (c *Conn) fill(n int) error {
	if cap(c.buffer) < n {
		c.buffer = append(make([]byte, 0, max(n, readLen)), c.buffer...)
	}
	control := make([]byte, syscall.CmsgSpace(maxFiles*4))
	for len(c.buffer) < n {
		if cap(c.buffer)-len(c.buffer) < min(n, readLen)/2 {
			c.buffer = append(make([]byte, 0, max(n, readLen)), c.buffer...)
		}
		room := c.buffer[len(c.buffer):cap(c.buffer)]
		got, controls, flags, _, err := c.ReadMsgUnix(room, control)
		if controls > 0 {
			if err := c.take(control[:controls]); err != nil {
				return err
			}
		}
		if flags&syscall.MSG_CTRUNC != 0 {
			return errors.New("descriptors were lost: none is free")
		}
		if errors.Is(err, io.EOF) || err == nil && got == 0 {
			return errEnd(len(c.buffer))
		}
		if err != nil {
			return err
		}
		c.buffer = c.buffer[:len(c.buffer)+got]
	}
	return nil
}

// Rest returns what follows the last frame received, for a connection that goes
// on with pieces. Receive must not be called afterwards.
func (c *Conn) Rest() io.Reader {
	return io.MultiReader(bytes.NewReader(c.buffer), c.UnixConn)
}

// take keeps the descriptors of a control message.
func (c *Conn) take(control []byte) error {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("unpack descriptors: %w", err)
	}
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			continue // not descriptors
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			if err := syscall.SetNonblock(fd, true); err != nil { // for the poller
				return err
			}
			c.files = append(c.files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return nil
}

// Close closes the socket. Descriptors that nobody took go with the receiver's
// last call, see Drop.
func (c *Conn) Close() error { return c.UnixConn.Close() }

// Drop closes descriptors that were received and not taken. The receiver calls it
// when it ends.
func (c *Conn) Drop() {
	CloseAll(c.files)
	c.files = nil
}

// CloseAll closes files that nobody needs any more.
func CloseAll(files []*os.File) {
	for _, f := range files {
		f.Close() //nolint:errcheck // nothing was written through it
	}
}

// Peer returns the process at the other end (SO_PEERCRED, unix(7)).
func (c *Conn) Peer() (cred syscall.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return cred, err
	}
	var got *syscall.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		got, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if controlErr != nil {
		return cred, controlErr
	}
	if err != nil {
		return cred, err
	}
	return *got, nil
}
