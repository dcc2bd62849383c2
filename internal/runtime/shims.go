package runtime

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/process"
)

// shim is a process of containerd's that holds one container.
type shim struct {
	container model.ContainerID
	process   process.Identity
}

// findShims finds the shims that a containerd has started in a namespace of its.
// Processes that end meanwhile are left out.
func findShims(namespace, address string) []shim {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	var out []shim
	for _, file := range files {
		line, err := readCommand(file)
		if err != nil {
			continue
		}
		id, ok := parseShim(line, namespace, address)
		if !ok {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		if who, err := process.Identify(pid); err == nil {
			out = append(out, shim{id, who})
		}
	}
	return out
}

// maxCommand is the longest command line that may be a shim's, in bytes: any
// container's process may have one of megabytes.
const maxCommand = 64 << 10

func readCommand(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	line, err := io.ReadAll(io.LimitReader(f, maxCommand+1))
	if err == nil && len(line) > maxCommand {
		err = errors.New("command line is too long")
	}
	return line, err
}

// parseShim reads a command line as proc_pid_cmdline(5) shows it, and returns
// the container if it is that of a shim that serves: a verb at its end makes it
// a passing helper.
func parseShim(line []byte, namespace, address string) (id model.ContainerID, ok bool) {
	words := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
	if !strings.HasPrefix(filepath.Base(words[0]), "containerd-shim") || len(words)%2 == 0 {
		return "", false
	}
	flags := map[string]string{}
	for i := 1; i+1 < len(words); i += 2 {
		flags[words[i]] = words[i+1]
	}
	if flags["-namespace"] != namespace || flags["-address"] != address {
		return "", false
	}
	id = model.ContainerID(flags["-id"])
	return id, id != ""
}
