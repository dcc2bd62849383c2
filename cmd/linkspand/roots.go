package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/ociruntimes"
)

const (
	// dataRootMode keeps the host's users out: below the data root lie the files of
	// containers, among them programs that a container's root has made setuid
	// (CVE-2021-41091).
	dataRootMode = 0o710
	// execRootMode lets them pass to the API's socket, which has a mode of its own.
	execRootMode = 0o711
	// umask is the one that modes of files are written for. A daemon may be started
	// with any; with a stricter one, containers that are not root could not enter
	// their volumes.
	umask = 0o022
)

// makeRoots makes the data root and the exec root. Their modes are set also where the
// folders are there already: an earlier release, or an administrator's mkdir, has left
// others.
func makeRoots(c config.Config) error {
	syscall.Umask(umask)
	for _, root := range []struct {
		path string
		mode fs.FileMode
	}{{c.DataRoot, dataRootMode}, {c.ExecRoot, execRootMode}} {
		if err := os.MkdirAll(root.path, root.mode); err != nil {
			return err
		}
		if err := os.Chmod(root.path, root.mode); err != nil {
			return fmt.Errorf("set the mode of %s: %w", root.path, err)
		}
	}
	return nil
}

// writeWrappers writes the scripts by which OCI runtimes get their arguments. Those of an
// earlier daemon stay: containers that run may need them.
func writeWrappers(runtimes ociruntimes.Set) error {
	for name := range runtimes.Defined {
		path, text, needed := runtimes.Wrapper(name)
		if !needed {
			continue
		}
		if err := os.MkdirAll(runtimes.Folder, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil { //nolint:gosec // it is a program
			return fmt.Errorf("runtime %s: %w", name, err)
		}
	}
	return nil
}
