package runtime

import "testing"

// TestWhoseContainer: what another engine made on the same containerd is not listed,
// and so neither taken up nor swept.
func TestWhoseContainer(t *testing.T) {
	for made, want := range map[string]bool{"one": true, "two": false, "": true} {
		if got := isOf("one", map[string]string{labelInstance: made}); got != want {
			t.Errorf("made by %q: %t", made, got)
		}
	}
	if !isOf("one", nil) {
		t.Error("a container of an older release is nobody's")
	}
}
