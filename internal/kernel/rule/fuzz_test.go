package rule

import "testing"

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, headerLen))
	f.Add(append(make([]byte, headerLen), 8, 0, 15, 0, 0x73, 0x6c, 0, 0))
	f.Add(append(make([]byte, headerLen), 5, 0, 3, 0, 'a', 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := Parse(b); err == nil && len(b) < headerLen {
			t.Errorf("%d bytes are taken for a message", len(b))
		}
	})
}
