package observe

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/linkspan/linkspan/internal/resolvconf"
)

// maxResolvers bounds what is read of resolv.conf(5); the C library uses three.
const maxResolvers = 16

// maxResolvConf is how much of a resolv.conf is read, in bytes.
const maxResolvConf = 64 << 10

// BootID returns random(4)'s identity of this boot, empty if there is none.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Resolvers returns the name servers that a resolv.conf(5) names; none if there is none.
func Resolvers(path string) ([]netip.Addr, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxResolvConf)) // what can be read counts
	return resolversIn(text), nil
}

// resolversIn returns the name servers that the text of a resolv.conf(5) names, in
// order and without zones.
func resolversIn(text []byte) []netip.Addr {
	var out []netip.Addr
	for _, a := range resolvconf.Parse(text).Servers {
		if len(out) < maxResolvers {
			out = append(out, a.WithZone("").Unmap())
		}
	}
	return out
}
