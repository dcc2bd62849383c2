package runtime

import (
	"testing"
)

func TestOOMCount(t *testing.T) {
	for text, want := range map[string]int{
		"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n": 3,
		"low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\n":     0,
		"": 0, "oom_kill x\n": 0,
	} {
		if got := oomCount(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
