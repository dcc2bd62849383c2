// Package tun makes TUN interfaces and opens them (Documentation/networking/tuntap.rst): a
// program reads the packets that are sent through one, and writes those that come by it.
//
// It promises that an interface stays, with its addresses and routes, while no program has it
// open, and carries nothing then. It must not read or write packets.
package tun

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// device is the file by which TUN interfaces are made and opened.
const device = "/dev/net/tun"

// flags are what the two sides of an interface agree on: packets without a header of the
// driver's own, and larger than the MTU where whoever has it open asks for that.
const flags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR

// Create makes an interface in the network namespace of the calling thread. One of that name that
// is there already must not be in use; it is as if it had been made.
func Create(name string) error {
	fd, err := Open(name)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1), unix.Close(fd))
}

// Open opens an interface of the network namespace of the calling thread, and makes it for as
// long as it is open if there is none. The caller closes the descriptor. Errors: unix.EBUSY if another has it
// open, unix.EINVAL if there is an interface of that name and of another kind, a model.Error
// if the kernel has no TUN.
func Open(name string) (fd int, err error) {
	fd, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return -1, &model.Error{Kind: model.Unfit, Err: fmt.Errorf("open %s: %w", device, err),
			Who: "this kernel has neither WireGuard nor TUN", Way: "load the module of one, if there is one: modprobe wireguard, modprobe tun"}
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", device, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("open interface %s: %w", name, err), unix.Close(fd))
	}
	return fd, nil
}
