package observe

import (
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestParsePorts(t *testing.T) {
	for text, want := range map[string]model.PortRange{
		"8080": {First: 8080, Last: 8080}, "32768-60999": {First: 32768, Last: 60999}, " 7-9\n": {First: 7, Last: 9},
		"": {}, "0": {}, "9-7": {}, "a-b": {}, "1-65536": {}, "1-": {},
	} {
		if got, ok := parsePorts(text); got != want || ok != !want.IsZero() {
			t.Errorf("%q: %v %t, want %v", text, got, ok, want)
		}
	}
}
