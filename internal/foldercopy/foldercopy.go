// Package foldercopy copies what is in one folder into another, with owners, modes, times,
// links and attributes, while others may change either.
//
// It promises that nothing is read from or written to but what is below the two folders,
// whatever links somebody puts there meanwhile: it goes about it on a thread whose file
// system holds the two and nothing else. For all hands that copy what containers wrote.
package foldercopy

import (
	"fmt"
	"os"
	"runtime"

	"github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// Where the two folders are on the thread, and what its file system is mounted on: a
// place that every host has.
const (
	place = "/proc"
	from  = "/from"
	to    = "/to"
)

// Copy copies all in the folder that is open as source into the one that is open as
// target, and gives that one the owner, the mode and the times of the first. What is below
// either as another mount is left out. After an error part of it may be copied.
func Copy(source, target *os.File) error {
	var trees [2]int
	for i, folder := range []*os.File{source, target} {
		tree, err := unix.OpenTree(int(folder.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		if err != nil {
			return fmt.Errorf("copy a folder: open %s: %w", folder.Name(), err)
		}
		defer unix.Close(tree)
		trees[i] = tree
	}
	done := make(chan error, 1)
	go apart(done, func() error {
		if err := enter(trees[0], trees[1]); err != nil {
			return err
		}
		return fs.CopyDir(to, from, fs.WithAllowXAttrErrors())
	})
	return <-done
}

// apart runs f on a thread that ends with it.
func apart(done chan<- error, f func() error) {
	runtime.LockOSThread() // never unlocked: its file system is another
	if unix.Gettid() == unix.Getpid() {
		// /proc/self shows the first thread of the process, which stays where it is. While
		// this goroutine holds it, the next one gets another.
		other := make(chan error, 1)
		go apart(other, f)
		done <- <-other
		runtime.UnlockOSThread()
		return
	}
	done <- f()
}

// enter makes the two trees all that the thread sees.
func enter(source, target int) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("copy a folder: unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("copy a folder: make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", place, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "size=64k,mode=700"); err != nil {
		return fmt.Errorf("copy a folder: mount: %w", err)
	}
	for path, tree := range map[string]int{place + from: source, place + to: target} {
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("copy a folder: mount at %s: %w", path, err)
		}
	}
	if err := unix.Chroot(place); err != nil {
		return fmt.Errorf("copy a folder: %w", err)
	}
	return unix.Chdir("/")
}
