package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCrashInAVerb kills the engine at every stage of a rename, of a link's removal, of a disconnect and of a connect,
// and starts it again: the name, what answers to it, the link and the memberships tell one story, be it that of before
// or that of afterwards.
func TestCrashInAVerb(t *testing.T) {
	engine := needEngine(t)
	h := New(t, Options{Engine: engine}).Host(1)
	s := &linkedPair{rig: rig{h: h, linkspan: filepath.Join(filepath.Dir(engine), "linkspan")}}
	stages := []string{"commit", "publish"}
	if os.Getenv(crashVariable) == "full" {
		stages = []string{"claim", "commit", "nft", "namespaces", "links", "addresses", "routes", "removals", "apply", "publish", "answer"}
	}
	s.start(t, "")
	s.set(t)
	for _, verb := range []struct {
		name string
		args []string
	}{
		{"rename", []string{"rename", "db", "new"}},
		{"unlink", []string{"rm", "--link", "app/store"}},
		{"disconnect", []string{"network", "disconnect", "office", "db"}},
		{"connect", []string{"network", "connect", "office", "app"}},
	} {
		for _, stage := range stages {
			if !t.Run(verb.name+"-"+stage, func(t *testing.T) { s.play(t, stage, verb.args) }) {
				return
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), crashStep)
	defer cancel()
	must(t)(h.Docker(ctx, "rm", "-f", "db", "app", "asker"))
	must(t)(h.Docker(ctx, "network", "rm", "office"))
	if err := Until(ctx, cleanTime, func() error { return h.CheckClean(ctx) }); err != nil {
		t.Error(err)
	}
}

// linkedPair is three containers: db, which answers to its name on the network office; app, which has a link to it on the
// default bridge, where containers are kept apart; and asker on office.
type linkedPair struct {
	rig
	db string // its ID
}

// member is a container as docker inspect has it.
type member struct {
	ID         string `json:"Id"`
	Name       string
	HostConfig struct {
		Links []string
	}
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
}

// start starts the engine, which is to end itself at a stage while the file "armed" is there.
func (s *linkedPair) start(t *testing.T, stage string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), crashStep)
	defer cancel()
	if s.h.Env = nil; stage != "" {
		s.h.Env = []string{"LINKSPAND_FAILPOINT=" + stage + ":1@" + s.h.file("armed")}
	}
	if err := s.h.Start(ctx, "--icc=false"); err != nil {
		t.Fatal(err)
	}
}

// set makes the scene, the first time and again after a verb has changed it.
func (s *linkedPair) set(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), crashStep)
	defer cancel()
	if s.db == "" {
		if err := s.h.Load(ctx, "busybox", "nginx"); err != nil {
			t.Fatal(err)
		}
		must(t)(s.h.Docker(ctx, "network", "create", "office"))
		s.db = must(t)(s.h.Docker(ctx, "run", "-d", "--name", "db", "nginx"))
		must(t)(s.h.Docker(ctx, "run", "-d", "--name", "asker", "--network", "office", "busybox", "sleep", "1000"))
	}
	db := s.inspect(ctx, t, s.db)
	if db.Name != "/db" {
		must(t)(s.h.Docker(ctx, "rename", s.db, "db"))
	}
	if _, on := db.NetworkSettings.Networks["office"]; !on {
		must(t)(s.h.Docker(ctx, "network", "connect", "office", "db"))
	}
	_, _ = s.h.Docker(ctx, "rm", "-f", "app")
	must(t)(s.h.Docker(ctx, "run", "-d", "--name", "app", "--link", "db:store", "busybox", "sleep", "1000"))
}

func (s *linkedPair) inspect(ctx context.Context, t *testing.T, name string) member {
	t.Helper()
	var have []member
	if err := json.Unmarshal([]byte(must(t)(s.h.Docker(ctx, "inspect", name))), &have); err != nil || len(have) != 1 {
		t.Fatalf("inspect %s: %v", name, err)
	}
	return have[0]
}

// play is one crash, from the scene to the scene. A verb that does not come to the stage succeeds, and the engine is
// killed when it has been answered.
func (s *linkedPair) play(t *testing.T, stage string, verb []string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*crashStep)
	defer cancel()
	begun := len(s.h.Log())
	defer func() {
		if t.Failed() {
			t.Logf("the engine wrote at last:\n%s", lastLines(s.h.Log()[begun:], 40))
		}
	}()
	do := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	do("stop", s.h.Stop(ctx))
	s.start(t, stage)
	do("arm", os.WriteFile(s.h.file("armed"), nil, 0o644))
	_, err := s.h.Docker(ctx, verb...)
	do("disarm", os.Remove(s.h.file("armed")))
	if err != nil && !brokenOff(err) {
		t.Fatal(err)
	}
	if err == nil {
		do("kill", s.h.Kill(ctx))
	}
	select {
	case <-s.h.engine.ended:
	case <-time.After(stopTime):
		t.Fatal("the engine lives on")
	}
	s.start(t, "")
	have, err := s.containers(ctx)
	do("look at the containers", err)
	do("all agree", Until(ctx, cleanTime, func() error { return s.agree(ctx, have) }))
	db, app := s.inspect(ctx, t, s.db), s.inspect(ctx, t, "app")
	do("the name", s.nameHolds(ctx, db))
	do("the name on the network", s.answers(ctx, db))
	do("the link", s.linkHolds(ctx, db, app))
	do("memberships of db", s.isMember(ctx, db))
	do("memberships of app", s.isMember(ctx, app))
	s.set(t)
}

// nameHolds finds db's name taken by db, and the other one free.
func (s *linkedPair) nameHolds(ctx context.Context, db member) error {
	taken := strings.TrimPrefix(db.Name, "/")
	if _, err := s.h.Docker(ctx, "create", "--name", taken, "busybox", "true"); err == nil || !strings.Contains(err.Error(), `The container name "`+db.Name+`" is already in use by container "`+s.db+`"`) {
		return fmt.Errorf("another container may be called %s: %w", taken, err)
	}
	if _, err := s.h.Docker(ctx, "create", "--name", otherName(taken), "busybox", "true"); err != nil {
		return err
	}
	_, err := s.h.Docker(ctx, "rm", otherName(taken))
	return err
}

func otherName(name string) string {
	if name == "db" {
		return "new"
	}
	return "db"
}

// answers asks for both names on office.
func (s *linkedPair) answers(ctx context.Context, db member) error {
	name := strings.TrimPrefix(db.Name, "/")
	out, err := s.h.Docker(ctx, "exec", "asker", "nslookup", name)
	membership, on := db.NetworkSettings.Networks["office"]
	if on != (err == nil) || on && !strings.Contains(out, "Address: "+membership.IPAddress) {
		return fmt.Errorf("member: %t; %s resolves to: %s (%w)", on, name, out, err)
	}
	if out, err := s.h.Docker(ctx, "exec", "asker", "nslookup", otherName(name)); err == nil {
		return fmt.Errorf("%s resolves to: %s", otherName(name), out)
	}
	return nil
}

// linkHolds compares app's record with its hosts file and with what it can reach.
func (s *linkedPair) linkHolds(ctx context.Context, db, app member) error {
	hosts, err := s.h.Docker(ctx, "exec", "app", "cat", "/etc/hosts")
	if err != nil {
		return err
	}
	addr := db.NetworkSettings.Networks["bridge"].IPAddress
	var want []string
	if len(app.HostConfig.Links) > 0 {
		want = []string{addr + "\tstore " + s.db[:12] + " " + strings.TrimPrefix(db.Name, "/")}
	}
	if link := db.Name + ":/app/store"; len(want) > 0 && app.HostConfig.Links[0] != link {
		return fmt.Errorf("links %v, want %s", app.HostConfig.Links, link)
	}
	have := slices.DeleteFunc(lines(hosts), func(l string) bool { return !strings.Contains(l, "store") })
	if !slices.Equal(have, want) {
		return fmt.Errorf("links %v, hosts has %q, want %q", app.HostConfig.Links, have, want)
	}
	// on office, where all may talk to one another, db is at another address
	_, err = s.h.Docker(ctx, "exec", "app", "sh", "-c", "echo | nc -w 1 "+addr+" 80")
	if (err == nil) != (len(want) > 0) {
		return fmt.Errorf("links %v, reaching the port: %w", app.HostConfig.Links, err)
	}
	return nil
}

// isMember compares the addresses of a container's memberships with those of its interfaces and of its hosts file.
func (s *linkedPair) isMember(ctx context.Context, c member) error {
	var want, interfaces, own []string
	for _, e := range c.NetworkSettings.Networks {
		want = append(want, e.IPAddress)
	}
	pid, err := s.h.Docker(ctx, "inspect", "-f", "{{.State.Pid}}", c.ID)
	if err != nil {
		return err
	}
	out, err := s.h.Run(ctx, "nsenter", "-n", "-t", pid, "ip", "-o", "-4", "addr", "show", "scope", "global")
	if err != nil {
		return err
	}
	for _, line := range lines(out) {
		addr, _, _ := strings.Cut(strings.Fields(line)[3], "/")
		interfaces = append(interfaces, addr)
	}
	hosts, err := s.h.Docker(ctx, "exec", c.ID, "cat", "/etc/hosts")
	for _, line := range lines(hosts) {
		if addr, name, _ := strings.Cut(line, "\t"); name == c.ID[:12] {
			own = append(own, addr)
		}
	}
	slices.Sort(want)
	slices.Sort(interfaces)
	slices.Sort(own)
	if err == nil && (!slices.Equal(want, interfaces) || !slices.Equal(want, own)) {
		err = errors.New("they differ")
	}
	if err != nil {
		return fmt.Errorf("%s is a member with %v, its interfaces have %v, its hosts file %v: %w", c.Name, want, interfaces, own, err)
	}
	return nil
}
