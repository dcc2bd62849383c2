package containerfiles

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Link makes path a symbolic link to target.
func Link(target, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("link to network namespace: %w", err)
	}
	if err := os.Symlink(target, path); err != nil {
		return fmt.Errorf("link to network namespace: %w", err)
	}
	return nil
}

// SameDevice tells whether two files are on one file system: namespaces have one of
// their own.
func SameDevice(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA != nil || errB != nil {
		return false
	}
	statA, okA := infoA.Sys().(*syscall.Stat_t)
	statB, okB := infoB.Sys().(*syscall.Stat_t)
	return okA && okB && statA.Dev == statB.Dev
}

// LinkedTo returns what a symbolic link leads to; empty without an error if there is
// none.
func LinkedTo(path string) (string, error) {
	target, err := os.Readlink(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return target, err
}
