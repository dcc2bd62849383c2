// Package jsonlog keeps what a container printed in Docker's json-file format:
// one JSON object per line, so that tools which read Docker's logs read ours.
//
//	writer process:  Add, Add, ... Flush -> path -> path.1 -> path.2.gz -> gone
//	                                          |
//	reader process:  Next  <- parts <---------+  inotify(7): wakes a follower
//
// Writer and readers share nothing but the files, and may be in different
// processes that start and die at any time. The package promises that memory is
// bounded however long the lines, the log or a follower's pauses are; that a
// follower sees every entry that rotation has not removed; and that a reader
// never sees half an entry, whatever a crash or a full disk left. It must not
// know about containers, and never changes what was written.
//
//	{"log":"hello\n","stream":"stdout","attrs":{"tag":"web"},"time":"2024-05-06T07:08:09.123456789Z"}
package jsonlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// lineLimit is the longest line of a file that is read, in bytes. Output is cut
// at 16 KiB and escaping makes at most six bytes of one, so whatever is longer
// is not ours.
const lineLimit = 1 << 20

// ErrFormat is the error of a line that is not an entry.
var ErrFormat = errors.New("not a json-file log line")

// Entry is one piece of output: a line with its "\n", or a part of one without.
type Entry struct {
	Time       time.Time
	Stream     string // "stdout" or "stderr"
	Line       []byte
	Attributes Attributes
}

// Append adds the entry to dst as a line of a log file. Bytes that are not UTF-8
// become U+FFFD: JSON has no way to write them.
func (e Entry) Append(dst []byte) []byte {
	return append(e.appendText(dst), appendTime(nil, e.Time)...)
}

// appendText adds the part of the line before the time.
func (e Entry) appendText(dst []byte) []byte {
	dst = append(dst, `{"log":`...)
	dst = appendString(dst, e.Line)
	dst = append(dst, `,"stream":`...)
	dst = appendString(dst, []byte(e.Stream))
	if e.Attributes != "" {
		dst = append(append(dst, `,"attrs":`...), e.Attributes...)
	}
	return append(dst, `,"time":`...)
}

// appendTime adds the rest of the line.
func appendTime(dst []byte, t time.Time) []byte {
	dst = t.UTC().AppendFormat(append(dst, '"'), time.RFC3339Nano)
	return append(dst, "\"}\n"...)
}

// Parse reads a line of a log file, with or without its line feed. Errors wrap
// ErrFormat.
func Parse(line []byte) (Entry, error) {
	var raw struct {
		Log    *string         `json:"log"`
		Stream string          `json:"stream"`
		Attrs  json.RawMessage `json:"attrs"`
		Time   *time.Time      `json:"time"`
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
	return Entry{Time: *raw.Time, Stream: raw.Stream, Line: []byte(*raw.Log), Attributes: parseAttributes(raw.Attrs)}, nil
}

// plain tells of each byte whether it stands for itself in a JSON string.
var plain = func() (table [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		switch c {
		case '"', '\\', '<', '>', '&', 0x7f:
		default:
			table[c] = true
		}
	}
	return table
}()

// appendString adds s as a JSON string (RFC 8259, section 7). It also escapes
// what is special in HTML and JavaScript, as Docker's files do. Runs of plain
// bytes, which output mostly is, are copied at once.
func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		start := i
		for i < len(s) && plain[s[i]] {
			i++
		}
		dst = append(dst, s[start:i]...)
		if i == len(s) {
			break
		}
		if s[i] < utf8.RuneSelf {
			dst = appendEscaped(dst, s[i])
			i++
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, `\ufffd`...)
		case r == '\u2028':
			dst = append(dst, `\u2028`...)
		case r == '\u2029':
			dst = append(dst, `\u2029`...)
		default:
			dst = append(dst, s[i:i+size]...)
		}
		i += size
	}
	return append(dst, '"')
}

// appendEscaped adds an ASCII character that does not stand for itself.
func appendEscaped(dst []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	dst = append(dst, `\u00`...)
	return append(dst, digits[c>>4], digits[c&0xf])
}
