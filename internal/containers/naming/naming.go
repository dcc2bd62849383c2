// Package naming chooses the names of containers.
package naming

import (
	"crypto/rand"
	"math/big"
	"strings"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Choose returns the name of a container that is about to be: the one asked
// for, or one that nobody has if that is empty. Who stores the container first has
// the name; what another has already is refused (Conflict).
func Choose(s *state.Snapshot, name string, id model.ContainerID) (string, error) {
	if name == "" {
		return generateName(s, id), nil
	}
	name = strings.TrimPrefix(name, "/")
	if err := containerspec.CheckName(name); err != nil {
		return "", err
	}
	return name, ops.NameTaken(s, name, id)
}

// generateName draws a name nobody has.
func generateName(s *state.Snapshot, id model.ContainerID) string {
	for range 6 {
		name := containerspec.DrawName(draw)
		if _, taken := s.ContainerNamed(name); !taken {
			return name
		}
	}
	return model.Short(id) // as unique as the ID
}

// draw returns a number from 0 to n-1.
func draw(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil { // crypto/rand never fails
		return 0
	}
	return int(i.Int64())
}
