package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxHosts is what the addressing plan has room for: 198.51.100.11 to .99.
const maxHosts = 89

// buildTime bounds how long building or ending a whole lab may take.
const buildTime = time.Minute

// Reporter is the part of testing.TB a lab talks to.
type Reporter interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// BridgeNF says whether bridged packets pass through the hosts' iptables (net.bridge.bridge-nf-call-iptables and
// -ip6tables). Nothing an engine promises may depend on it, so isolation is tested with both.
type BridgeNF int

// The settings of BridgeNF.
const (
	BridgeNFDefault BridgeNF = iota // as the kernel sets it up for a new network namespace
	BridgeNFOff
	BridgeNFOn
)

// backendVariable names the firewall backend of labs that do not say which they want.
const backendVariable = "FW"

// Options say what kind of lab is wanted.
type Options struct {
	Hosts    int      // how many engine hosts; 0 means 1
	Engine   string   // path of the linkspand that Host.Start runs; empty: hosts without an engine
	Docker   string   // the docker client that Host.Docker runs; empty: the one FindDocker finds
	Firewall string   // the engine's --firewall-backend; empty: what FW in the environment says, or whatever it is without
	BridgeNF BridgeNF // see there
	Dir      string   // where the lab keeps its files; empty: the folder for temporary files
}

// Lab is a running laboratory: a switch, the outside world and the engine hosts.
type Lab struct {
	Prefix string // unique among the labs of this machine; the folder of the lab's files is named so

	options Options
	dir     string
	lan     *Machine
	world   *World
	hosts   []*Host
}

// New builds a lab for a test and takes it down when the test ends; what is then left over is an error of the test.
// A lab that cannot be built ends the test.
func New(t Reporter, options Options) *Lab {
	t.Helper()
	l, err := Up(options)
	if err != nil {
		t.Fatalf("lab: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	return l
}

// Up builds a lab, for programs that are not tests. The caller must Close it.
func Up(options Options) (*Lab, error) {
	options.Firewall = cmp.Or(options.Firewall, os.Getenv(backendVariable))
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab needs root")
	}
	options.Hosts = max(options.Hosts, 1)
	if options.Hosts > maxHosts {
		return nil, fmt.Errorf("%d hosts: the lab's LAN has room for %d", options.Hosts, maxHosts)
	}
	dir, err := os.MkdirTemp(options.Dir, "linkspan-lab-")
	if err != nil {
		return nil, err
	}
	l := &Lab{Prefix: filepath.Base(dir), options: options, dir: dir}
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Host is engine host number i, counted from 1 as in h1. Asking for one that was not built is a mistake of the
// caller and panics.
func (l *Lab) Host(i int) *Host { return l.hosts[i-1] }

// Hosts are all engine hosts, h1 first.
func (l *Lab) Hosts() []*Host { return slices.Clone(l.hosts) }

// World is the machine outside: the hosts' gateway and DNS server.
func (l *Lab) World() *World { return l.world }

// Machine finds world or a host by its name.
func (l *Lab) Machine(name string) (*Machine, bool) {
	for _, m := range l.machines() {
		if m.Name == name && m != l.lan {
			return m, true
		}
	}
	return nil, false
}

// Dir is the folder on the real machine that holds everything of this lab. It goes away with Close.
func (l *Lab) Dir() string { return l.dir }

// build brings the machines up one after the other and plugs them together.
func (l *Lab) build(ctx context.Context) error {
	if err := l.buildLAN(ctx); err != nil {
		return err
	}
	if err := l.buildWorld(ctx); err != nil {
		return err
	}
	for i := 1; i <= l.options.Hosts; i++ {
		if err := l.buildHost(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// machines are all machines that were at least begun.
func (l *Lab) machines() []*Machine {
	var all []*Machine
	for _, h := range l.hosts {
		all = append(all, h.Machine)
	}
	if l.world != nil {
		all = append(all, l.world.Machine)
	}
	if l.lan != nil {
		all = append(all, l.lan)
	}
	return all
}

// newMachine makes the folder of a machine and the files its first process binds into place, and boots it.
func (l *Lab) newMachine(m *Machine, files map[string]string) error {
	m.dir = filepath.Join(l.dir, m.Name)
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(m.file(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return m.boot()
}

// hostsFile is the /etc/hosts of a machine: itself, and nobody else on the LAN.
func hostsFile(m *Machine) string {
	var text strings.Builder
	text.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n")
	if m.Addr4.IsValid() {
		fmt.Fprintf(&text, "%s\t%s\n", m.Addr4, m.Name)
	}
	return text.String()
}
