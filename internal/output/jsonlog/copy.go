package jsonlog

import (
	"bytes"
	"errors"
	"io"
)

// Copy writes everything from a stream into the log until the stream ends. When
// the log cannot be written it goes on reading, so that the program which prints
// does not stop; the first such error is returned in the end.
func (l *Log) Copy(stream string, from io.Reader) error {
	buf := make([]byte, chunkLimit)
	held := 0 // bytes at the start of buf that are not written yet
	var lost error
	write := func(p []byte) {
		if err := l.Write(Entry{Stream: stream, Line: p}); err != nil && lost == nil {
			lost = err
		}
	}
	for {
		n, err := from.Read(buf[held:])
		end := held + n
		done := 0
		for {
			i := bytes.IndexByte(buf[done:end], '\n')
			if i < 0 {
				break
			}
			write(buf[done : done+i+1])
			done += i + 1
		}
		// A piece without an end is written when there is no room for more.
		if done == 0 && end == len(buf) || err != nil && done < end {
			write(buf[done:end])
			done = end
		}
		held = copy(buf, buf[done:end])
		if errors.Is(err, io.EOF) {
			return lost
		}
		if err != nil {
			return errors.Join(lost, err)
		}
	}
}
