package files

import (
	"io/fs"
	"syscall"
)

// nameless is a file about which archive/tar asks nothing else: it would look for the
// names of owners, in files of whoever's root it is in.
type nameless struct{ fs.FileInfo }

// Sys implements fs.FileInfo.
func (nameless) Sys() any { return nil }

// statOf returns what stat(2) said of a file.
func statOf(info fs.FileInfo) (*syscall.Stat_t, bool) {
	sys, ok := info.Sys().(*syscall.Stat_t)
	return sys, ok
}
