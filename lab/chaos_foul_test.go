package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What is done to the host, the daemon and the keeper while nobody is killed.
const (
	aFlush  = "flush"  // nft flush ruleset, and then a repair
	aName   = "name"   // ip netns delete of a container's namespace, and then a repair
	aDearth = "dearth" // a second without a free descriptor, in the daemon
	aThirst = "thirst" // the same in the keeper
	aRival  = "rival"  // another engine is started beside ours, with folders of its own
	aForger = "forger" // forged frames from a container
)

const (
	forgedFrames = 500
	// learned is how many neighbours the host may know at most after that, of all its networks.
	learned = 200
)

// dearthTime is how long there is no free descriptor.
const dearthTime = time.Second

// foul does one of these and returns when the host has its own again. How the daemon gets to know of it is not what is
// tried: a repair is asked for.
func (c *chaos) foul(ctx context.Context, s strike, what string) error {
	switch what {
	case aFlush:
		if _, err := c.h.Run(ctx, "nft", "flush", "ruleset"); err != nil {
			return err
		}
		return c.repair(ctx)
	case aName:
		return errors.Join(c.loseName(ctx, s.which), c.repair(ctx))
	case aDearth:
		return c.starve(ctx, theDaemon)
	case aThirst:
		return c.starve(ctx, theKeeper)
	case aRival:
		return c.rival(ctx)
	case aForger:
		return c.forge(ctx, s.which)
	}
	return fmt.Errorf("there is no strike %q", what)
}

// repair asks for a repair until one succeeds: an owner may be on its way out just now.
func (c *chaos) repair(ctx context.Context) error {
	return Until(ctx, backTime, func() error {
		_, err := c.h.Run(ctx, c.linkspan, "network", "repair")
		return err
	})
}

// namespace is the name of a container's namespace; empty if there is none.
func (c *chaos) namespace(ctx context.Context, which int) (string, error) {
	out, err := c.h.Run(ctx, "sh", "-c", `ip netns list | cut -d" " -f1`)
	names := lines(out)
	if err != nil || len(names) == 0 {
		return "", err
	}
	return names[which%len(names)], nil
}

// loseName takes a namespace's name away, of a container that runs if one does. The namespace lives on.
func (c *chaos) loseName(ctx context.Context, which int) error {
	name, err := c.namespace(ctx, which)
	if err != nil || name == "" {
		return err
	}
	// it may be gone by now, or go at the same time: then there was nothing to lose
	_, err = c.h.Run(ctx, "sh", "-c", `ip netns delete "$0" 2>/dev/null || :`, name)
	return err
}

// forge sends frames from a container's interfaces that it has made up, and sees that the host has learned little of them.
// What becomes of each frame is tried elsewhere (TestBorder, and kernel/firewalltest/border); here they come amid everything else.
func (c *chaos) forge(ctx context.Context, which int) error {
	name, err := c.namespace(ctx, which)
	if err != nil || name == "" {
		return err
	}
	random := rand.New(rand.NewPCG(c.seed, uint64(which)))
	err = inside(fmt.Sprintf("/proc/%d/root/run/netns/%s", c.h.PID(), name), func() error { return sendForged(random) })
	if err != nil {
		return nil // the container has gone meanwhile, and its interfaces with it
	}
	known, err := c.h.Run(ctx, "sh", "-c", "ip neigh show nud all; ip -6 neigh show nud all")
	routes, routesErr := c.h.Run(ctx, "sh", "-c", "ip -6 route show table all proto ra")
	if n := len(lines(known)); n > learned {
		err = errors.Join(err, fmt.Errorf("the host knows %d neighbours after forged frames of %s", n, name))
	}
	return errors.Join(err, routesErr, leftover("route of a router advertisement", lines(routes)))
}

// sendForged sends frames by all interfaces of the namespace that the thread is in. Addresses are of all kinds, and mostly
// plausible: what is nonsense from the first byte on is dropped by the first rule.
func sendForged(random *rand.Rand) error {
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	sent := 0
	for range forgedFrames {
		link := links[random.IntN(len(links))]
		if link.HardwareAddr == nil {
			continue
		}
		err := unix.Sendto(fd, forgedFrame(random, link.HardwareAddr), unix.MSG_DONTWAIT, &unix.SockaddrLinklayer{Ifindex: link.Index, Halen: 6})
		if err == nil {
			sent++
		}
	}
	if sent == 0 {
		return errors.New("no frame could be sent")
	}
	return nil
}

func forgedFrame(random *rand.Rand, own net.HardwareAddr) []byte {
	some := func(length int) []byte {
		b := make([]byte, length)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	src4 := [][]byte{{172, 17, 0, byte(random.Uint32())}, {172, 18, byte(random.Uint32()), 3}, {127, 0, 0, 1}, some(4)}[random.IntN(4)]
	src6 := append([]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0}, some(8)...)
	frame := append([]byte{}, [][]byte{
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {1, 0x80, 0xc2, 0, 0, byte(random.IntN(16))}, {0x33, 0x33, 0, 0, 0, 1}, {0x33, 0x33, 0xff, 0, 0, 1}, some(6),
	}[random.IntN(5)]...)
	frame = append(frame, [][]byte{own, own, own, some(6)}[random.IntN(4)]...)
	switch random.IntN(4) {
	case 0: // ARP: who has, says src4
		frame = append(frame, 8, 6, 0, 1, 8, 0, 6, 4, 0, byte(1+random.IntN(2)))
		return append(append(append(append(frame, own...), src4...), some(6)...), 172, 17, 0, 1)
	case 1: // a router or a neighbour advertises
		body := append([]byte{[]byte{133, 134, 135, 136, 137}[random.IntN(5)], 0, 0, 0}, some(36)...)
		frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, 255)
		return append(append(append(frame, src6...), 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), body...)
	case 2: // UDP from anywhere
		dst := [][]byte{{127, 0, 0, 1}, {172, 17, 0, 1}, {255, 255, 255, 255}, some(4)}[random.IntN(4)]
		from, _ := netip.AddrFromSlice(src4)
		to, _ := netip.AddrFromSlice(dst)
		return append(append(frame, 8, 0), datagram(from, to, uint16(random.Uint32()), "forged")...)
	}
	return append(append(frame, some(2)...), some(60)...)
}

// starve leaves the processes of a program no descriptor beyond those they have, for a moment.
func (c *chaos) starve(ctx context.Context, program string) error {
	pids, err := c.processes(ctx, program)
	if err != nil || len(pids) == 0 {
		return err
	}
	_, err = c.h.Run(ctx, append([]string{"sh", "-c", `
		seconds=$1; shift
		for pid; do
			was=$(prlimit --pid "$pid" --nofile --noheadings --output SOFT,HARD | tr -s " " :) || continue
			echo "$pid ${was#:}"
			prlimit --pid "$pid" --nofile="$(ls /proc/$pid/fd | wc -l):" || :
		done >/run/starved
		sleep "$seconds"
		while read -r pid was; do prlimit --pid "$pid" --nofile="${was%:}" || [ ! -d /proc/$pid ]; done </run/starved
		rm /run/starved`, "sh", fmt.Sprint(dearthTime.Seconds())}, pids...)...)
	return err
}

// rival starts another engine in the same network namespace. It must see that it is not alone, and go.
func (c *chaos) rival(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	out, err := c.h.Run(ctx, "sh", "-c", `! timeout 20 "$0" "$@" 2>&1; rm -rf /run/rival`, c.h.options.Engine,
		"--host=unix:///run/rival/docker.sock", "--data-root=/run/rival/data", "--exec-root=/run/rival/exec",
		"--pidfile=/run/rival/pid", "--config-file="+c.h.file("engine.json"))
	if err == nil && !strings.Contains(out, "another linkspand") {
		err = errors.New("a second engine does not say why it goes")
	}
	if err != nil {
		return fmt.Errorf("a second engine beside the first: %w: %s", err, lastLines(out, 5))
	}
	return nil
}
