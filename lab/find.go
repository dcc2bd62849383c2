package lab

import (
	"context"
	"fmt"
	"strings"
)

// Find returns what find(1) prints on the host, a path a line. What vanishes while it looks is not there: of a folder it
// complains even with -ignore_readdir_race.
func (h *Host) Find(ctx context.Context, args ...string) (string, error) {
	out, err := h.Run(ctx, append([]string{"sh", "-c", `find "$0" "$@" 2>&1 || :`}, args...)...)
	if err != nil {
		return "", err
	}
	var found strings.Builder
	for line := range strings.Lines(out) {
		switch complaint := strings.HasPrefix(line, "find: "); {
		case complaint && !strings.HasSuffix(strings.TrimSpace(line), ": No such file or directory"):
			return "", fmt.Errorf("%s: %s", h.Name, strings.TrimSpace(line))
		case !complaint:
			found.WriteString(line)
		}
	}
	return found.String(), nil
}
