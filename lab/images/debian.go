package images

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// unpack fetches packages with all they depend on and writes their files, not configured, to the tar file at path.
func unpack(ctx context.Context, packages []string, path string) error {
	suite := release()
	args := []string{"--quiet", "--variant=extract", "--include=" + strings.Join(packages, ","), suite, path}
	if mirror := mirror(ctx, suite); mirror != "" {
		args = append(args, mirror)
	}
	_, err := output(exec.CommandContext(ctx, "mmdebstrap", args...))
	return err
}

// release is the code name of the Debian this machine runs; bookworm if it runs another system.
func release() string {
	text, err := os.ReadFile("/etc/os-release")
	if err == nil && bytes.Contains(text, []byte("ID=debian")) {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
				return name
			}
		}
	}
	return "bookworm"
}

// mirror is where the machine's own apt gets the suite from; "" leaves the choice to mmdebstrap.
func mirror(ctx context.Context, suite string) string {
	out, err := output(exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == suite && fields[1] == "main" {
			return fields[2]
		}
	}
	return ""
}

// output runs cmd and returns its standard output; the error has its standard error.
func output(cmd *exec.Cmd) (string, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd.Args[0], err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}
