// Package containerfiles is the files of containers below the data root, and those of the
// host that they are made from: /etc/hosts, /etc/hostname, /etc/resolv.conf, logs, and
// links to namespaces.
//
// It promises that what a container may write itself is read and written within bounds,
// and neither followed nor waited for. What stands in the files is decided elsewhere
// (package names).
package containerfiles

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/model"
)

// Dirs has a directory for each container.
type Dirs struct {
	Root string // of the daemon's data
}

// all is where the directories of all containers lie.
func (d Dirs) all() string { return filepath.Join(d.Root, "containers") }

// Of returns where a container's own files lie. IDs are made here or read from records
// of ours, so that they cannot lead elsewhere.
func (d Dirs) Of(id model.ContainerID) string { return filepath.Join(d.all(), string(id)) }

// Make makes the directory of a container.
func (d Dirs) Make(id model.ContainerID) error {
	if err := os.MkdirAll(d.Of(id), 0o710); err != nil {
		return fmt.Errorf("container directory: %w", err)
	}
	return nil
}

// Remove removes a container's directory and all in it; one that is gone is success.
func (d Dirs) Remove(id model.ContainerID) error { return os.RemoveAll(d.Of(id)) }

// Strangers returns the containers that have a directory and are not known. Only names
// that are IDs are ours.
func (d Dirs) Strangers(known func(model.ContainerID) bool) []model.ContainerID {
	entries, err := os.ReadDir(d.all())
	if err != nil {
		return nil // nothing was ever created
	}
	var out []model.ContainerID
	for _, e := range entries {
		id := model.ContainerID(e.Name())
		if len(id) == 64 && strings.Trim(string(id), "0123456789abcdef") == "" && !known(id) {
			out = append(out, id)
		}
	}
	return out
}

// Files are the paths of what a container sees as /etc/hostname, /etc/hosts and
// /etc/resolv.conf. In container: mode they are symbolic links to the other's,
// set anew by every start, so that what the runtime keeps stays true.
type Files struct {
	Hostname, Hosts, ResolvConf string
}

// Files returns the paths of a container's files.
func (d Dirs) Files(id model.ContainerID) Files {
	dir := d.Of(id)
	return Files{
		Hostname:   filepath.Join(dir, "hostname"),
		Hosts:      filepath.Join(dir, "hosts"),
		ResolvConf: filepath.Join(dir, "resolv.conf"),
	}
}

// Log returns the path of a container's log.
func (d Dirs) Log(id model.ContainerID) string {
	return filepath.Join(d.Of(id), string(id)+"-json.log")
}

// LogOf returns the path of what a log driver keeps here of a container's output.
func (d Dirs) LogOf(id model.ContainerID, driver string) string {
	switch {
	case driver == logoptions.Local:
		return filepath.Join(d.Of(id), "local-logs", "container.log")
	case logoptions.Cached(driver):
		return filepath.Join(d.Of(id), "container-cached.log")
	}
	return d.Log(id)
}

// Netns, PIDNamespace and IPCNamespace return the paths of links to the namespaces of
// other containers that a container joins. Every start sets them anew, because the paths
// are part of what the runtime keeps.
func (d Dirs) Netns(id model.ContainerID) string { return filepath.Join(d.Of(id), "netns") }

// PIDNamespace is the link to a process namespace; see Netns.
func (d Dirs) PIDNamespace(id model.ContainerID) string { return filepath.Join(d.Of(id), "pidns") }

// IPCNamespace is the link to an IPC namespace; see Netns.
func (d Dirs) IPCNamespace(id model.ContainerID) string { return filepath.Join(d.Of(id), "ipcns") }
