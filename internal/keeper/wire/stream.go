package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kinds of pieces of a stream.
const (
	PieceStdout byte = 1
	PieceStderr byte = 2
	PieceEnd    byte = 3 // the output has ended
	PieceError  byte = 4 // no more will come; data is the reason, as JSON of Error
)

const (
	pieceHeader = 5
	maxPiece    = 1 << 20
)

// WritePiece writes a piece of a stream: what a connection carries after the
// answer to VerbFollow.
func WritePiece(w io.Writer, kind byte, data []byte) error {
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, pieceHeader+len(data)), uint32(len(data)))
	frame = append(append(frame, kind), data...)
	_, err := w.Write(frame)
	return err
}

// ReadPiece reads a piece into buf, which it may replace by a larger one. The
// data is valid until the next call. io.EOF is the end between two pieces: the
// other side is gone.
func ReadPiece(r io.Reader, buf []byte) (kind byte, data []byte, err error) {
	var header [pieceHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	length := int(binary.BigEndian.Uint32(header[:]))
	if length > maxPiece {
		return 0, nil, fmt.Errorf("piece of %d bytes is too large", length)
	}
	if cap(buf) < length {
		buf = make([]byte, length)
	}
	buf = buf[:length]
	if _, err := io.ReadFull(r, buf); err != nil {
		return 0, nil, unexpected(err)
	}
	return header[4], buf, nil
}

// unexpected turns an end in the middle into what it is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// errEnd is the end of a connection on which part of a message was read, or none.
func errEnd(read int) error {
	if read > 0 {
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}
