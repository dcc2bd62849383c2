package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What is done to the host, the daemon and the keeper while nobody is killed.
const (
	aFlush  = "flush"  // nft flush ruleset, and then a repair
	aName   = "name"   // ip netns delete of a container's namespace, and then a repair
	aDearth = "dearth" // a second without a free descriptor, in the daemon
	aThirst = "thirst" // the same in the keeper
	aRival  = "rival"  // another engine is started beside ours, with folders of its own
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

// loseName takes a namespace's name away, of a container that runs if one does. The namespace lives on.
func (c *chaos) loseName(ctx context.Context, which int) error {
	out, err := c.h.Run(ctx, "sh", "-c", `ip netns list | cut -d" " -f1`)
	if err != nil {
		return err
	}
	names := lines(out)
	if len(names) == 0 {
		return nil
	}
	// it may be gone by now, or go at the same time: then there was nothing to lose
	_, err = c.h.Run(ctx, "sh", "-c", `ip netns delete "$0" 2>/dev/null || :`, names[which%len(names)])
	return err
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
