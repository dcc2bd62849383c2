package link

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// patience is how long a link on a parent may wait for one that the kernel is taking down,
// together with a namespace that nobody is in any more, and has its address or its place.
// Of that the kernel says nothing, so it is tried every poll.
const (
	patience = 2 * time.Second
	poll     = 2 * time.Millisecond
)

// patiently calls f again as long as its error may be over soon.
func patiently(f func() error, again func(error) bool) error {
	err := f()
	for end := time.Now().Add(patience); err != nil && again(err) && time.Now().Before(end); {
		time.Sleep(poll)
		err = f()
	}
	return err
}

// BringUp brings up the link of a row, which is called name now. Its errors say what is
// in the way.
func BringUp(c *rtnl.Conn, row desired.Link, name string) error {
	err := patiently(func() error { return SetUp(c, name) }, func(err error) bool {
		return row.OnParent() && errors.Is(err, unix.EADDRINUSE)
	})
	if err != nil {
		return notUp(row, err)
	}
	return nil
}

// notUp says why a link cannot be brought up.
func notUp(row desired.Link, err error) error {
	err = fmt.Errorf("bring up %s: %w", row.Name, err)
	if row.Parent == nil {
		return err
	}
	out := &model.Error{Kind: model.Unfit, Err: err}
	switch {
	case errors.Is(err, unix.ENETDOWN):
		out.Who = row.Parent.Name + " is down"
		out.Way = "bring it up: ip link set " + row.Parent.Name + " up"
	case errors.Is(err, unix.EADDRINUSE):
		out.Who = fmt.Sprintf("another interface on %s has the MAC address %s", row.Parent.Name, row.MAC)
	}
	return out
}

// FreeParents removes what has something to itself, a parent, a VNI or a UDP port, and is
// the instance's in a namespace that nobody wants any more.
func FreeParents(c *rtnl.Conn, instance string) error {
	all, err := List(c)
	if err != nil {
		return err
	}
	for _, i := range all {
		row := desired.Link{Name: i.Name, Type: desired.LinkType(i.Type)}
		has := row.OnParent() || row.Type == desired.LinkVXLAN || row.Type == desired.LinkWireGuard || row.Type == desired.LinkTUN
		if _, ours := Owner(instance, i); ours && has {
			err = errors.Join(err, Delete(c, instance, row))
		}
	}
	return err
}

// maxNumber bounds the search for a free name of an interface.
const maxNumber = 4096

// FreeName returns the first name that no link of a namespace has and that has the letters
// of the given one before its number; empty if there is none.
func FreeName(c *rtnl.Conn, name string) (string, error) {
	all, err := List(c)
	if err != nil {
		return "", err
	}
	used := map[string]bool{}
	for _, i := range all {
		used[i.Name] = true
	}
	prefix := strings.TrimRight(name, "0123456789")
	for i := range maxNumber {
		free := prefix + strconv.Itoa(i)
		if len(free) < unix.IFNAMSIZ && !used[free] {
			return free, nil
		}
	}
	return "", nil
}
