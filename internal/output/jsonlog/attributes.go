package jsonlog

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// Attributes is what a log notes with a line besides its text: a JSON object of
// strings (RFC 8259) in one line, as it stands in the file. Empty is none.
//
// It is kept in this form because a log notes the same with every line, and most
// readers do not look at it.
type Attributes string

// NewAttributes returns these names and values, sorted by name. Bytes that are
// not UTF-8 become U+FFFD.
func NewAttributes(values map[string]string) Attributes {
	if len(values) == 0 {
		return ""
	}
	out := []byte{'{'}
	for i, name := range slices.Sorted(maps.Keys(values)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, []byte(name)), ':')
		out = appendString(out, []byte(values[name]))
	}
	return Attributes(append(out, '}'))
}

// Map returns names and values; nil if there are none or they are not strings.
func (a Attributes) Map() map[string]string {
	if a == "" {
		return nil
	}
	var out map[string]string
	if err := json.Unmarshal([]byte(a), &out); err != nil {
		return nil
	}
	return out
}

// parseAttributes takes what stands in a line, which is JSON. What is not an
// object is worth less than the line and left out.
func parseAttributes(raw json.RawMessage) Attributes {
	if len(raw) == 0 || raw[0] != '{' {
		return ""
	}
	var line bytes.Buffer // without spaces and line feeds
	if err := json.Compact(&line, raw); err != nil {
		return ""
	}
	return Attributes(line.String())
}
