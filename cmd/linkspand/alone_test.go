package main

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// elsewhere runs f on a thread in a network namespace of its own, so that the lock's
// name is free whatever runs on this machine.
func elsewhere(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := syscall.Unshare(syscall.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestLockCannotBeSquatted: anybody may take the lock's name, and that keeps no daemon
// from starting. The lock holds against what may well be one.
func TestLockCannotBeSquatted(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	elsewhere(t, func() {
		squat, err := net.Listen("unix", lockName) // this test's process is no linkspand
		if err != nil {
			t.Error(err)
			return
		}
		defer squat.Close()
		if who, honest := holder(lockName); honest || !strings.Contains(who, "of user 0") {
			t.Errorf("the holder is %q, honest %t", who, honest)
		}
		deaf, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer syscall.Close(deaf)
		if err := syscall.Bind(deaf, &syscall.SockaddrUnix{Name: lockName + ".1"}); err != nil {
			t.Error(err)
		}
		lock, err := beAlone(log)
		if err != nil {
			t.Errorf("the lock was squatted: %v", err)
			return
		}
		if _, honest := holder(lockName + ".2"); honest {
			t.Error("a process by another name counts as a linkspand")
		}
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
		if who, _ := holder(lockName + ".2"); who != "" {
			t.Errorf("after the end the lock is held by %s", who)
		}
	})
}

func TestMayManage(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		want   bool
	}{
		"root":                          {"Name:\tlinkspand\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n", true},
		"a container's root":            {"Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n", false},
		"somebody":                      {"Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n", false},
		"root of a user namespace":      {"Uid:\t1000\t1000\t1000\t1000\nCapEff:\t000001ffffffffff\n", false},
		"a name with a line of its own": {"Name:\tx\\nUid:\t0\t0\t0\t0\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t000001ffffffffff\n", false},
		"nothing":                       {"", false},
	} {
		if got := mayManage(c.status); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestFolderLock: one daemon uses a folder, and its children do not keep it.
func TestFolderLock(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFolder(dir); err == nil || !strings.Contains(err.Error(), "another linkspand uses "+dir) {
		t.Errorf("a second daemon: %v", err)
	}
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockFolder(dir)
	if err != nil {
		t.Fatalf("after its end: %v", err)
	}
	again.Close()
	if info, err := os.Stat(filepath.Join(dir, "linkspand.lock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
}
