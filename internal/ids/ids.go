// Package ids draws the IDs of objects that users make: networks, endpoints,
// sandboxes, containers, execs and volumes without a name.
//
// It promises that no two are the same. It must not be used for what has a name that
// can be computed: interfaces, namespaces, rules.
package ids

import (
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// New returns 64 random hexadecimal digits. One that looks like a number is drawn
// again, as with Docker: its short form would be taken for one, for instance as a
// hostname.
func New() string {
	for {
		var raw [32]byte
		rand.Read(raw[:]) //nolint:errcheck // never fails (crypto/rand)
		id := hex.EncodeToString(raw[:])
		if strings.Trim(id[:model.ShortLen], "0123456789") != "" {
			return id
		}
	}
}
