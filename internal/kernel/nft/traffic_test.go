package nft

import "testing"

// FuzzPortKey: whatever bytes a set holds, its keys are read or refused.
func FuzzPortKey(f *testing.F) {
	f.Add(word(6) + portWord(80))
	f.Add(word(2) + word(17) + portWord(53))
	f.Fuzz(func(t *testing.T, key string) {
		for _, s := range append(openSets(), mapSets()...) {
			if p, ok := s.parse(key); ok && !p.Host.IsValid() {
				t.Errorf("set %s: %x has no address", s.name, key)
			}
		}
	})
}
