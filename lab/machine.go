package lab

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed machine.sh
var firstProcess string

const (
	bootTime = 10 * time.Second // how long the first process of a machine may take to arrange its file systems
	haltTime = 2 * time.Second  // and to thaw what is frozen, before it is killed
)

// Machine is one computer of the lab. It lives until its first process is ended.
type Machine struct {
	Name  string     // as its uname says: lan, world, h1, h2 …
	Addr4 netip.Addr // on the LAN; zero for the switch itself
	Addr6 netip.Addr

	dir   string         // on the real machine: its files, its engine's data
	first *exec.Cmd      // the first process
	life  io.WriteCloser // its standard input; closing it ends the machine
	netns string         // "net:[4026532…]", by which leftovers are recognised
}

// boot starts the first process of m and waits until its file systems are arranged. m.dir must exist and hold the
// files hosts and resolv.conf.
func (m *Machine) boot() error {
	m.first = exec.Command("bash", "-c", firstProcess, "machine", m.Name, m.dir)
	m.first.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		Setsid:     true, // a ^C at the terminal is for the program that built the lab, which then ends it in order
	}
	var complaint bytes.Buffer
	m.first.Stderr = &complaint
	life, err := m.first.StdinPipe()
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	said, err := m.first.StdoutPipe()
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	if err := m.first.Start(); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	m.life = life
	watchdog := time.AfterFunc(bootTime, func() { _ = m.first.Process.Kill() })
	defer watchdog.Stop()
	if line, _ := bufio.NewReader(said).ReadString('\n'); line != "up\n" {
		return fmt.Errorf("machine %s did not come up: %w: %s", m.Name, m.first.Wait(), &complaint)
	}
	m.netns, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/net", m.PID()))
	return err
}

// PID is the process ID of the first process as the real machine counts. "nsenter -t PID -a" is a shell on m.
func (m *Machine) PID() int { return m.first.Process.Pid }

// halt ends the machine at once, as if its plug were pulled. When it returns no process of m is left: the kernel
// kills and awaits everything in a PID namespace before its first process is gone. That one ends by itself, as nobody
// else can be sure to thaw what is frozen; it gets a moment for that.
func (m *Machine) halt() {
	if m.life == nil {
		return
	}
	_ = m.life.Close()
	impatience := time.AfterFunc(haltTime, func() { _ = m.first.Process.Kill() })
	defer impatience.Stop()
	_ = m.first.Wait() // however it ended, it has
	m.life = nil
}

// Command prepares args to run on m. Paths in args are looked up on m, which has the real machine's files except for
// /run, /proc, /sys, /etc/hosts and /etc/resolv.conf. When ctx ends, the command's whole process group is killed.
func (m *Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(m.PID()), "--mount", "--net", "--pid", "--uts", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	killAsGroup(cmd)
	return cmd
}

// Run runs args on m and returns what it printed on standard output, without the last newline. The error of a
// command that failed carries what it said on standard error.
func (m *Machine) Run(ctx context.Context, args ...string) (string, error) {
	return output(m.Command(ctx, args...), m.Name, args)
}

// ip runs iproute2 commands in m's network namespace, all in one process. The commands see the processes and the
// files of the real machine, so that "netns PID" means a process of the real machine.
func (m *Machine) ip(ctx context.Context, commands ...string) error {
	cmd := exec.CommandContext(ctx, "nsenter", "--net=/proc/"+strconv.Itoa(m.PID())+"/ns/net", "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	_, err := output(cmd, m.Name, []string{"ip", "-batch", "-"})
	return err
}

// file is the path of one of m's own files, on the real machine.
func (m *Machine) file(name string) string { return filepath.Join(m.dir, name) }

// killAsGroup gives cmd a process group of its own, which is killed as a whole when cmd's context ends: nsenter alone
// would leave the command it started behind.
func killAsGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = 2 * time.Second
}

// output runs cmd and returns its standard output without the last newline; where and args are for the error's words.
func output(cmd *exec.Cmd, where string, args []string) (string, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w: %s", where, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return strings.TrimSuffix(out.String(), "\n"), err
}
