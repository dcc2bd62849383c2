package containerspec

import (
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// CheckName refuses what Docker refuses as a container's name.
func CheckName(name string) error {
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("_.-", rune(c))) {
			return badName(name)
		}
	}
	if len(name) < 2 {
		return badName(name)
	}
	return nil
}

func badName(name string) error {
	return model.Errorf(model.Invalid, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
}
