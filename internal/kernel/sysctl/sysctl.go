// Package sysctl reads and writes values below /proc/sys/net, in the network
// namespace of the calling thread (proc_sys(5)).
//
// It must not leave /proc/sys/net, nor write a value that is already there, nor
// ever set one back: a value of an interface vanishes with its interface.
//
// Ours: nothing; sysctls carry no mark, so only wanted ones are looked at.
//
// What has gone wrong here: every namespace has its own net/ipv6 under the one
// net, and the kernel finds the right one by trying them all
// (proc_sys_compare). So the values of a namespace are reached in one visit, and
// by a mount of proc of our own (Source).
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// Tree is the sysctls of one namespace, for as long as a thread is there.
type Tree struct {
	proc *os.File            // nil for /proc
	dirs map[string]*os.File // by path below sys, two levels: "net/ipv6"
	done func()
}

// Close closes what was opened.
func (t *Tree) Close() {
	for _, d := range t.dirs {
		d.Close()
	}
	t.done()
}

// Put writes value to path ("net/ipv4/ip_forward") unless it is there already,
// and reports whether it wrote. A value that only switches IPv6 off, or tunes
// it, counts as there on a kernel without IPv6.
func (t *Tree) Put(path, value string) (wrote bool, err error) {
	have, err := t.Get(path)
	switch {
	case t.moot(path, value, err):
		return false, nil
	case err == nil && normal(have) == normal(value):
		return false, nil
	case err != nil && !errors.Is(err, fs.ErrPermission): // some can only be written
		return false, t.explain(path, err)
	}
	f, err := t.open(path, unix.O_WRONLY)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return false, fmt.Errorf("set sysctl %s to %q: %w", path, value, err)
	}
	return true, nil
}

// Drift says what there is instead of value; empty if it is there, or if it
// cannot be read.
func (t *Tree) Drift(path, value string) string {
	have, err := t.Get(path)
	switch {
	case t.moot(path, value, err), errors.Is(err, fs.ErrPermission):
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case err != nil:
		return err.Error()
	case normal(have) != normal(value):
		return "is " + normal(have)
	}
	return ""
}

// Get reads the value of path. The error is fs.ErrNotExist if the kernel has no
// such sysctl.
func (t *Tree) Get(path string) (string, error) {
	f, err := t.open(path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// The kernel gives out a page at most.
	b := make([]byte, os.Getpagesize())
	n, err := unix.Read(int(f.Fd()), b)
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return strings.TrimSpace(string(b[:n])), nil
}

// open opens the file of a sysctl.
func (t *Tree) open(p string, mode int) (*os.File, error) {
	if err := check(p); err != nil {
		return nil, err
	}
	parts := strings.SplitN(p, "/", 3)
	top := path.Join(parts[0], parts[1])
	dir, known := t.dirs[top]
	if !known {
		var err error
		if dir, err = t.openTop(top); err != nil {
			return nil, err
		}
		t.dirs[top] = dir
	}
	return openAt(int(dir.Fd()), parts[2], mode)
}

func (t *Tree) openTop(p string) (*os.File, error) {
	if t.proc == nil {
		return openAt(unix.AT_FDCWD, "/proc/sys/"+p, unix.O_DIRECTORY|unix.O_RDONLY)
	}
	return openAt(int(t.proc.Fd()), "sys/"+p, unix.O_DIRECTORY|unix.O_RDONLY)
}

// openAt spares files of /proc the poller, which os.Open would offer them to.
func openAt(dir int, p string, mode int) (*os.File, error) {
	fd, err := unix.Openat(dir, p, mode|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	return os.NewFile(uintptr(fd), p), nil
}

// check refuses whatever does not name a sysctl of the network stack.
func check(p string) error {
	if !fs.ValidPath(p) || !strings.HasPrefix(p, "net/") || strings.Count(p, "/") < 2 || strings.ContainsRune(p, 0) {
		return model.Errorf(model.Invalid, "invalid sysctl path %q: must be net/<protocol>/<name>", p)
	}
	return nil
}

// normal makes lists comparable: the kernel separates by tabs what people write
// with spaces.
func normal(value string) string { return strings.Join(strings.Fields(value), " ") }

// moot tells whether a value is as good as set because the kernel, or the interface,
// has no IPv6.
func (t *Tree) moot(p, value string, err error) bool {
	if !t.lacksIPv6(p, err) && !t.linkLacksIPv6(p, err) {
		return false
	}
	if path.Base(p) == "disable_ipv6" {
		return value == "1"
	}
	return path.Base(p) != "forwarding" || value == "0"
}

func (t *Tree) lacksIPv6(p string, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(p, "net/ipv6/") && t.dirs["net/ipv6"] == nil
}

// linkLacksIPv6 tells whether p is a setting of an interface that exists and does not
// have IPv6 for its MTU: below 1280 bytes (RFC 8200, section 5) the kernel removes
// all of it from the interface (addrconf_notify in net/ipv6/addrconf.c).
func (t *Tree) linkLacksIPv6(p string, err error) bool {
	parts := strings.Split(p, "/")
	if !errors.Is(err, fs.ErrNotExist) || len(parts) != linkParts || parts[1] != "ipv6" {
		return false
	}
	if _, err := t.Get(path.Join("net/ipv6/conf", parts[3], "mtu")); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err = t.Get(path.Join("net/ipv4/conf", parts[3], "forwarding"))
	return err == nil
}

// RouteLocalnet is the path of the setting by which a link routes 127.0.0.0/8.
func RouteLocalnet(link string) string { return "net/ipv4/conf/" + link + "/route_localnet" }

// linkParts is how many parts the path of an interface's setting has:
// net/ipv6/conf/eth0/accept_ra.
const linkParts = 5

func (t *Tree) explain(p string, err error) error {
	if t.lacksIPv6(p, err) {
		return fmt.Errorf("sysctl %s: this kernel runs without IPv6: %w", p, err)
	}
	if t.linkLacksIPv6(p, err) {
		return fmt.Errorf("sysctl %s: the interface has no IPv6, which needs an MTU of at least 1280 bytes: %w", p, err)
	}
	return fmt.Errorf("sysctl %s: %w", p, err)
}
