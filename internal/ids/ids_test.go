package ids

import (
	"regexp"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestIDsAreNoNumbers(t *testing.T) {
	seen := map[string]bool{}
	for range 5000 { // of which 18 would be numbers
		id := New()
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) || !regexp.MustCompile(`[a-f]`).MatchString(id[:model.ShortLen]) || seen[id] {
			t.Fatalf("ID %s", id)
		}
		seen[id] = true
	}
}
