package sockets

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/tun"
)

// Do runs f in a namespace, for what opens sockets by itself. f must not wait.
func (o Opener) Do(ctx context.Context, namespace string, f func() error) error {
	return o.Namespaces.Do(ctx, namespace, f)
}

// OpenTUN opens a TUN interface of a namespace, which must be there already. The caller closes
// the descriptor.
func (o Opener) OpenTUN(ctx context.Context, namespace, link string) (fd int, err error) {
	err = o.Namespaces.Do(ctx, namespace, func() error {
		if !there(link) {
			return fmt.Errorf("interface %s: %w", link, unix.ENODEV)
		}
		fd, err = tun.Open(link)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("in network namespace %s: %w", namespace, err)
	}
	return fd, nil
}

// there tells whether the namespace of the calling thread has an interface of that name.
func there(link string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written through it
	_, err = interfaceIndex(fd, link)
	return err == nil
}

// Identity tells a namespace from others that have its name before or after it. The error is
// fs.ErrNotExist if there is none.
func (o Opener) Identity(namespace string) (string, error) {
	file, err := o.Namespaces.Open(namespace)
	if err != nil {
		return "", err
	}
	defer file.Close()
	it, err := netns.IdentityOf(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d", it.Device, it.Inode), nil
}
