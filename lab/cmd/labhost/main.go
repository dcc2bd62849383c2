// Command labhost brings up a laboratory of network namespaces with an engine on its hosts, runs a command in it, and
// takes everything down again when the command ends. It must not leave anything behind, however it ends.
//
//	labhost [-hosts N] [-engine FILE] [-images NAME,NAME] [COMMAND ARG…]
//	labhost -build-images NAME,NAME
//
// Without a command it is a shell. The command runs on the real machine and finds on its PATH
//
//	h1, h2 …   run their arguments on that host, or a shell
//	world      the same in the outside world
//	docker     the docker client, which talks to the engine on h1
//
// and in its environment LAB_H1, LAB_H2 … and LAB_WORLD (IPv4 addresses), LAB_BEYOND (an address that the hosts reach
// only through their default gateway), LAB_DIR (the lab's files) and DOCKER_HOST.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/linkspan/linkspan/lab"
	"github.com/linkspan/linkspan/lab/images"
)

func main() {
	var o lab.Options
	flag.IntVar(&o.Hosts, "hosts", 1, "how many engine hosts")
	flag.StringVar(&o.Engine, "engine", "", "the linkspand to start on each host (default: none)")
	load := flag.String("images", "", "the images to load into the engines: "+strings.Join(images.Names(), ","))
	build := flag.String("build-images", "", "build these images into the cache, and do nothing else")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	var err error
	if *build != "" {
		err = buildImages(ctx, list(*build))
	} else {
		err = run(ctx, o, list(*load), flag.Args())
	}
	if code := status(err); code > 0 {
		os.Exit(code) // the command has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "labhost:", err)
		os.Exit(1)
	}
}

// commandFailed is the end of the command that was to be played, in distinction from
// the programs that build the lab.
type commandFailed struct{ *exec.ExitError }

// status returns what the command ended with; 0 if it did not fail, or something else
// did, too.
func status(err error) int {
	if ended, ok := err.(commandFailed); ok {
		return ended.ExitCode()
	}
	return 0
}

// list splits at commas.
func list(names string) []string {
	return strings.FieldsFunc(names, func(r rune) bool { return r == ',' })
}

// buildImages fills the cache.
func buildImages(ctx context.Context, names []string) error {
	dir, err := images.CacheDir()
	if err != nil {
		return err
	}
	for _, name := range names {
		path, err := images.Ensure(ctx, dir, name)
		if err != nil {
			return err
		}
		fmt.Println(path)
	}
	return nil
}

// run is the life of the lab.
func run(ctx context.Context, o lab.Options, load, command []string) (err error) {
	l, err := lab.Up(o)
	if err != nil {
		return err
	}
	defer func() {
		if left := l.Close(); left != nil {
			err = errors.Join(err, left)
		}
	}()
	for _, h := range l.Hosts() {
		if o.Engine == "" {
			break
		}
		if err := h.Start(ctx); err != nil {
			return err
		}
		if err := h.Load(ctx, load...); err != nil {
			return err
		}
	}
	env, err := environment(l, o.Engine)
	if err != nil {
		return err
	}
	if len(command) == 0 {
		command = []string{"bash", "--norc", "-i"}
	}
	return play(ctx, env, command)
}

// play runs the command. A ^C is meant for it, not for us: we end when it does.
func play(ctx context.Context, env, command []string) error {
	interrupts := make(chan os.Signal, 1) // caught, not ignored: the command would inherit that
	signal.Notify(interrupts, syscall.SIGINT)
	defer signal.Stop(interrupts)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(env, "PS1=lab# ")
	err := cmd.Run()
	if ended := new(exec.ExitError); errors.As(err, &ended) {
		return commandFailed{ended}
	}
	return err
}

// environment writes the commands that enter the machines and returns the variables that tell of the lab. The docker
// client is the one for this engine.
func environment(l *lab.Lab, engine string) ([]string, error) {
	bin := filepath.Join(l.Dir(), "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	h1, world := l.Host(1), l.World()
	path := os.Getenv("PATH")
	if docker, err := lab.FindDocker(engine); err == nil {
		path = filepath.Dir(docker) + ":" + path
	}
	path = bin + ":" + path
	env := append(os.Environ(), "PATH="+path, "LAB_DIR="+l.Dir(), "DOCKER_HOST=unix://"+h1.Socket(),
		"LAB_WORLD="+world.Addr4.String(), "LAB_BEYOND="+world.Beyond4.String())
	machines := []*lab.Machine{world.Machine}
	for _, h := range l.Hosts() {
		machines = append(machines, h.Machine)
		env = append(env, fmt.Sprintf("LAB_%s=%s", strings.ToUpper(h.Name), h.Addr4))
	}
	for _, m := range machines {
		script := fmt.Sprintf("#!/bin/sh\n[ $# -gt 0 ] || set -- bash\nexec nsenter --target %d --mount --net --pid --uts -- \"$@\"\n", m.PID())
		if err := os.WriteFile(filepath.Join(bin, m.Name), []byte(script), 0o755); err != nil {
			return nil, err
		}
	}
	return env, nil
}
