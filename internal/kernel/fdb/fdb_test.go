package fdb

import "testing"

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, headerLen))
	f.Add(append(make([]byte, headerLen), 8, 0, 1, 0, 10, 0, 0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parse(b); err == nil && len(b) < headerLen {
			t.Errorf("%d bytes are taken for a message", len(b))
		}
	})
}
