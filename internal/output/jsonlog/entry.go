// Package jsonlog keeps what a container printed in Docker's json-file format:
// one JSON object per line, so that tools which read Docker's logs read ours.
//
// It promises that memory is bounded however long the lines, the log or a
// follower's pauses are, and that a follower sees every entry that rotation has
// not removed, woken by the writer. It must not know about containers, and it
// never changes what was written.
//
//	{"log":"hello\n","stream":"stdout","time":"2024-05-06T07:08:09.123456789Z"}
package jsonlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

const (
	// chunkLimit is the longest piece of a line in one entry, in bytes: longer
	// lines are split, as Docker does, and only the last piece ends in "\n".
	chunkLimit = 16 << 10
	// lineLimit is the longest line of a file that is read, in bytes. Escaping
	// makes at most six bytes of one, so whatever is longer is not ours.
	lineLimit = 1 << 20
)

// ErrFormat is the error of a line that is not an entry.
var ErrFormat = errors.New("not a json-file log line")

// Entry is one piece of output: a line with its "\n", or a part of one without.
type Entry struct {
	Time   time.Time
	Stream string // "stdout" or "stderr"
	Line   []byte
}

// Append adds the entry to dst as a line of a log file. Bytes that are not UTF-8
// become U+FFFD: JSON has no way to write them.
func (e Entry) Append(dst []byte) []byte {
	dst = append(dst, `{"log":`...)
	dst = appendString(dst, e.Line)
	dst = append(dst, `,"stream":`...)
	dst = appendString(dst, []byte(e.Stream))
	dst = append(dst, `,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, "\"}\n"...)
}

// Parse reads a line of a log file, with or without its line feed. Errors wrap
// ErrFormat.
func Parse(line []byte) (Entry, error) {
	var raw struct {
		Log    *string    `json:"log"`
		Stream string     `json:"stream"`
		Time   *time.Time `json:"time"`
	}
	if len(line) > lineLimit {
		return Entry{}, fmt.Errorf("%w: %d bytes", ErrFormat, len(line))
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if raw.Log == nil || raw.Time == nil {
		return Entry{}, fmt.Errorf("%w: log or time is missing", ErrFormat)
	}
	return Entry{Time: *raw.Time, Stream: raw.Stream, Line: []byte(*raw.Log)}, nil
}

// appendString adds s as a JSON string (RFC 8259, section 7). It also escapes
// what is special in HTML and JavaScript, as Docker's files do.
func appendString(dst, s []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(dst, `\ufffd`...)
			case r == '\u2028' || r == '\u2029':
				dst = append(dst, `\u202`...)
				dst = append(dst, digits[r&0xf])
			default:
				dst = append(dst, s[i:i+size]...)
			}
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < ' ' || c == 0x7f || c == '<' || c == '>' || c == '&':
			dst = append(dst, `\u00`...)
			dst = append(dst, digits[c>>4], digits[c&0xf])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}
