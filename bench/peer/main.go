// Command peer compares Linkspan with Debian's docker.io: both run at the same time on two hosts of the lab, with the
// same docker client, containerd, runc and images, and every measurement is taken on one and then on the other, so that
// whatever else the machine does is borne by both.
//
//	peer [-only PATTERN] [-linkspand FILE] -dockerd FILE -load FILE
//
// It prints one line for each measurement as soon as it is known: what, linkspan's figure, docker.io's, linkspan's
// divided by docker.io's, the target and whether it was met. It ends with an error if something could not be measured;
// a missed target is none. It needs root, changes nothing outside its labs, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// wholeTime bounds a comparison.
const wholeTime = 20 * time.Minute

// experiment is a group of rows that need the same containers.
type experiment struct {
	name string
	run  func(context.Context, *bench) error
}

// experiments are all there are, in the order they are done: memory first, while the daemons are fresh.
func experiments() []experiment {
	return []experiment{
		{"memory", memory},
		{"run", runs},
		{"network", networks},
		{"parallel", parallel},
		{"traffic", traffic},
		{"names", names},
		{"ports", ports},
	}
}

// bench is the two engines and what is printed about them.
type bench struct {
	linkspan, docker *side
	load             string // the load generator, on the hosts and in containers
	table            *table
	cgroups          []string // named after Docker, before it ran
}

// sides are both engines, ours first.
func (b *bench) sides() []*side { return []*side{b.linkspan, b.docker} }

func main() {
	only := flag.String("only", ".", "the experiments to do: a regular expression of their names")
	linkspand := flag.String("linkspand", "bin/linkspand", "our daemon, with linkspan-keeper beside it")
	dockerd := flag.String("dockerd", "", "Docker's daemon, with docker-proxy beside it")
	load := flag.String("load", "bin/benchload", "the load generator, statically linked")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	defer cancel()
	ctx, expire := context.WithTimeout(ctx, wholeTime)
	defer expire()
	if err := compare(ctx, *only, *load, *linkspand, *dockerd); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// compare starts both engines, does the experiments, and takes everything down.
func compare(ctx context.Context, only, load, linkspand, dockerd string) (err error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	wanted := slices.DeleteFunc(experiments(), func(e experiment) bool { return !pattern.MatchString(e.name) })
	if len(wanted) == 0 {
		return nil
	}
	b := &bench{table: &table{to: os.Stdout}}
	if b.load, err = filepath.Abs(load); err != nil {
		return err
	}
	if b.cgroups, err = parents(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.down()) }()
	if b.linkspan, err = up(ctx, "linkspan", linkspand, "linkspand", "linkspan-keeper"); err != nil {
		return err
	}
	if b.docker, err = up(ctx, "docker.io", dockerd, "dockerd", "docker-proxy"); err != nil {
		return err
	}
	title, err := b.title(ctx)
	if err != nil {
		return err
	}
	b.table.head(title)
	var problems []error
	for _, e := range wanted {
		if err := e.run(ctx, b); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", e.name, err))
		}
	}
	b.table.foot(loadAverage())
	return errors.Join(append(problems, ctx.Err())...)
}

// down ends both, and removes the cgroups below which docker.io had its containers: cgroups are the only thing that the
// hosts of a lab share with the machine.
func (b *bench) down() error {
	var problems []error
	for _, s := range b.sides() {
		if s != nil {
			problems = append(problems, s.down())
		}
	}
	now, err := parents()
	problems = append(problems, err)
	for _, path := range now {
		if slices.Contains(b.cgroups, path) {
			continue
		}
		// Busy, it is another lab's as well.
		if err := os.Remove(path); !errors.Is(err, syscall.EBUSY) && !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// parents are the cgroups named docker, directly below the root of a hierarchy (cgroups v1) or of the tree (v2).
func parents() ([]string, error) {
	v1, err := filepath.Glob("/sys/fs/cgroup/*/docker")
	v2, otherErr := filepath.Glob("/sys/fs/cgroup/docker")
	return append(v1, v2...), errors.Join(err, otherErr)
}

// title is one line about what is compared, and how busy the machine is: figures of a busy one say little.
func (b *bench) title(ctx context.Context) (string, error) {
	line := ""
	for _, s := range b.sides() {
		version, err := s.host.Docker(ctx, "version", "--format", "{{.Server.Version}}, docker {{.Client.Version}}")
		if err != nil {
			return "", err
		}
		line += s.name + " " + version + "; "
	}
	return line + loadAverage(), nil
}

// loadAverage is how many processes have wanted to run in the last minute, for each processor one can.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	minute, _, _ := strings.Cut(string(text), " ")
	return fmt.Sprintf("load average %s on %d processors", minute, runtime.NumCPU())
}
