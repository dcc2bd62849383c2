// Package xtables finds the host's iptables, tells which of two programs it is, and runs
// its commands within bounds. It also asks the kernel what iptables-legacy has made,
// which sends no notifications.
//
//	iptables-nft      writes tables of nf_tables, which package nft sees, too
//	iptables-legacy   writes tables of x_tables, which only its own commands change
package xtables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// ErrNoCommand is what Tool returns, wrapped, where the host lacks a command.
var ErrNoCommand = errors.New("no iptables command found")

// Variant is one of the two programs that are called iptables: rules of the one are
// not seen by the other. The zero value is none, or whichever the host has.
type Variant string

// The variants, as the output of iptables --version names them.
const (
	NFT    Variant = "nf_tables"
	Legacy Variant = "legacy"
)

// Variants are both.
func Variants() []Variant { return []Variant{NFT, Legacy} }

// Other returns the other variant.
func (v Variant) Other() Variant {
	if v == NFT {
		return Legacy
	}
	return NFT
}

// Infix is the part of a command's name that says which variant it is, "-nft".
func (v Variant) Infix() string {
	if v == NFT {
		return "-nft"
	}
	return "-legacy"
}

// Program returns the name of a family's command: iptables or ip6tables.
func Program(f model.Family) string {
	if f == model.IPv6 {
		return "ip6tables"
	}
	return "iptables"
}

// Options are where commands are looked for and how they are run.
type Options struct {
	// Folders are where commands are looked for; those of PATH, and where distributions
	// have them, which a daemon's PATH may lack, if nil.
	Folders []string
	// Enter calls a function in the network namespace that commands work in; nil just
	// calls it.
	Enter func(func() error) error
	// Started is told the number of each process before anybody waits for its end; it
	// may be nil.
	Started func(pid int)
	// Timeout bounds one command; a minute if 0.
	Timeout time.Duration
	// MaxOutput bounds what is read of one, in bytes; 256 MiB if 0.
	MaxOutput int
}

// Commands are those of iptables on this host. Which there are may change while we run:
// they are looked for each time. Methods may be called concurrently.
type Commands struct {
	o Options

	mu    sync.Mutex
	known map[program]Variant
}

// program is a file as it was when it was asked what it is.
type program struct {
	path     string
	modified time.Time
}

// New returns the host's commands. It looks for none yet.
func New(o Options) *Commands {
	if o.Folders == nil {
		o.Folders = append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin", "/sbin")
	}
	if o.Enter == nil {
		o.Enter = func(f func() error) error { return f() }
	}
	if o.Started == nil {
		o.Started = func(int) {}
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.MaxOutput == 0 {
		o.MaxOutput = 256 << 20
	}
	return &Commands{o: o, known: map[program]Variant{}}
}

// lookPath returns where a program is; empty if it is nowhere.
func (c *Commands) lookPath(name string) string {
	for _, folder := range c.o.Folders {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && filepath.IsAbs(path) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// Variant tells which variant a family's iptables is. The name of the file says it,
// behind all links; else it is asked, once. It fails with ErrNoCommand, wrapped, where
// there is none.
func (c *Commands) Variant(ctx context.Context, f model.Family) (Variant, error) {
	name := Program(f)
	found := c.lookPath(name)
	path, err := filepath.EvalSymlinks(found)
	if found == "" || err != nil {
		return "", fmt.Errorf("%w: %s", ErrNoCommand, name)
	}
	switch base := filepath.Base(path); {
	case strings.Contains(base, "nft"):
		return NFT, nil
	case strings.Contains(base, "legacy"):
		return Legacy, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrNoCommand, name, err)
	}
	return c.ask(ctx, program{path, info.ModTime()})
}

func (c *Commands) ask(ctx context.Context, p program) (Variant, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.known[p]; ok {
		return v, nil
	}
	out, err := c.run(ctx, "", p.path, "--version")
	if err == nil && !strings.HasPrefix(out, "ip") {
		err = fmt.Errorf("it says %.40q", out)
	}
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", p.path, err)
	}
	v := Legacy // before 1.8.0, there was no other, and it did not say so
	if strings.Contains(out, "("+string(NFT)+")") {
		v = NFT
	}
	c.known[p] = v
	return v, nil
}

// Tool returns the commands of a family and a variant, of the one that iptables is on
// this host if v is empty. Where the host has them under the plain name only, that is
// what they are. It fails with ErrNoCommand, wrapped, where one of them is missing.
func (c *Commands) Tool(ctx context.Context, f model.Family, v Variant) (*Tool, error) {
	plain, err := c.Variant(ctx, f)
	if v == "" && err != nil {
		return nil, err
	}
	if v == "" {
		v = plain
	}
	names := []string{Program(f) + v.Infix()}
	if v == plain {
		names = append(names, Program(f))
	}
	for _, name := range names {
		save, restore := c.lookPath(name+"-save"), c.lookPath(name+"-restore")
		if save != "" && restore != "" {
			return &Tool{Family: f, Variant: v, commands: c, save: save, restore: restore}, nil
		}
	}
	return nil, fmt.Errorf("%w: %s-save and %s-restore", ErrNoCommand, Program(f), Program(f))
}
