package bindguard

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// errNoCgroup is what a host without cgroup v2 gets.
var errNoCgroup = errors.New("no cgroup v2 is mounted")

// open returns the folder whose processes are kept away.
//
// It never mounts the hierarchy itself: a mount without options would take
// nsdelegate and the like from the whole host (Linux, kernel/cgroup/cgroup.c,
// apply_cgroup_root_flags).
func (g *Guard) open() (*os.File, error) {
	path := g.cgroup
	if path == "" {
		var err error
		if path, err = Root(); err != nil {
			return nil, err
		}
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the cgroup: %w", err)
	}
	return dir, nil
}

// Root returns the folder in which cgroup v2 is mounted, for this process. Of
// several, it is the one that shows most of the hierarchy.
func Root() (string, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	return root(f)
}

// root reads what proc_pid_mountinfo(5) describes. Lines that it does not
// understand are passed over.
func root(r io.Reader) (string, error) {
	var best, top string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if best == "" || len(fields[3]) < len(top) {
			top, best = fields[3], fields[4]
		}
	}
	if err := lines.Err(); err != nil || best == "" {
		return "", cmp.Or(err, errNoCgroup)
	}
	return unescape(best), nil
}

// unescape undoes what the kernel does to white space and backslashes in paths.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}
