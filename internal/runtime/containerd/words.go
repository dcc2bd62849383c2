package containerd

import (
	"slices"
	"strings"
)

// containerd, its shims and runc have many errors without a kind. These are the words by
// which they are known, and all of them: whoever matches another puts it here, and a true
// text into the table of the test.

// says tells whether an error has one of some words.
func says(err error, words ...string) bool {
	return err != nil && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(err.Error(), w) })
}

// saysEnded tells whether a shim refuses because the process has ended.
func saysEnded(err error) bool {
	return says(err, "in a stopped state", "in a deleted state", "a stopped container", "a deleted process")
}

// SaysPaused tells whether a shim refuses because the container is paused.
func SaysPaused(err error) bool { return says(err, "in a paused state") }

// SaysMayHaveEnded tells whether runc or a shim failed in a way that the end of the
// container's first process explains: runc has seen it, or the kernel has taken an exec
// along (pid_namespaces(7)), maybe before the shim knows.
func SaysMayHaveEnded(err error) bool {
	return says(err, "ttrpc: closed", "broken pipe", "connection reset", "EOF", "executing setns process", "namespace path: lstat /proc/",
		"container not running", "container not paused", "unable to freeze")
}

// SaysTaskExists tells whether a task could not be made because of what another start
// has left, by the words of containerd, of its shim and of runc.
func SaysTaskExists(err error) bool { return says(err, "already exists", "file exists") }

// SaysBundleGone tells whether a task could not be made because its bundle went meanwhile:
// containerd removed what it took for that of an earlier start.
func SaysBundleGone(err error) bool {
	return says(err, "failed to start shim", "failed to create shim task: mkdir ", "unable to retrieve OCI runtime error (open ") &&
		says(err, "no such file or directory")
}

// SaysLayerExists tells whether a snapshot could not be made because the folder for it is
// there: see snapshots.Store.
func SaysLayerExists(err error) bool { return says(err, "file exists") }

// SaysBadArchive tells whether an image could not be read because the archive is bad.
func SaysBadArchive(err error) bool {
	return says(err, "archive/tar: ", "unexpected EOF", "unrecognized image format", "mismatched image rootfs",
		"wrong diff id", "invalid reference format", "failed to resolve layers", "invalid symlink", "invalid hardlink") ||
		says(err, "failed to extract layer") && !says(err, "no space left on device")
}

// SaysNoPlatform tells whether an image could not be fetched because its index has none for
// the platform.
func SaysNoPlatform(err error) bool { return says(err, "no match for platform in manifest") }

// StartCode returns the exit code that a shell would have ended with instead of an error at
// the start of a program: 127 if it is not there, 126 if it cannot be executed. ok is false
// for other errors.
func StartCode(err error) (code int, ok bool) {
	if !says(err, "exec") {
		return 0, false
	}
	for _, c := range []struct {
		words string
		code  int
	}{
		{"executable file not found", 127},
		{"no such file or directory", 127},
		{"permission denied", 126},
		{"is a directory", 126},
		{"not a directory", 127}, // Docker's, mostly of a file mounted on a folder
		{"exec format error", 126},
	} {
		if says(err, c.words) {
			return c.code, true
		}
	}
	return 0, false
}
