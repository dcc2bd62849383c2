package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// storyStep bounds one command of a story.
const storyStep = time.Minute

// RunStories plays the stories in these files: scripts in the language of testscript, each in a lab of its own. Beside
// testscript's commands they have these. A "!" before one of them means that it must fail.
//
//	lab [-bridge-nf on|off] [N]      build the lab, with N hosts (1); must come first
//	start HOST [NAME=value…] [FLAG…] start the engine, with these in its environment
//	end HOST, kill9 HOST             end it with SIGTERM, with SIGKILL ("stop" is testscript's own: it ends the story)
//	plug HOST NAME                   give the host one more interface on the LAN, down and without addresses
//	images HOST NAME…                load test images into it
//	program NAME                     build lab/cmd/NAME to run in containers; its path is in the environment, as NAME in capitals
//	docker [-on HOST] ARG…           the docker client, talking to the engine of h1 or of HOST
//	host HOST CMD…                   run a command on a host
//	world CMD…                       run a command in the outside world
//	soon SECONDS [!] docker|host|world ARG…   try until it succeeds (or, with "!", fails)
//	let NAME                         set the variable NAME to what the last command printed, without the last newline
//	clean HOST                       all containers and networks are gone: nothing else may be left of them
//
// In the environment are H1, WORLD and the like (see cmdLab), DNSLOG, the file to which world's DNS server writes its
// queries and answers, H1_LOG, the engine's on h1, H1_CLIENT, where docker keeps its configuration there, and LINKSPAN, the linkspan command that lies beside the engine. Hosts
// have the docker client on their PATH.
//
// When a story ends its lab is closed, and what is then left over is an error.
func RunStories(t *testing.T, options Options, files ...string) {
	t.Helper()
	playStories(t, func(*testscript.Env) *story { return &story{options: options} }, files)
}

// RunStoriesIn plays stories in a lab that is built already, several at a time: it is for those that need no host of their own.
// None of them begins with "lab", and what one leaves on a host is there for the next.
func RunStoriesIn(t *testing.T, l *Lab, files ...string) {
	t.Helper()
	playStories(t, func(env *testscript.Env) *story {
		s := &story{options: l.options, lab: l}
		s.tell(env.Setenv)
		return s
	}, files)
}

// playStories plays stories, each with the state that begin gives it.
func playStories(t *testing.T, begin func(*testscript.Env) *story, files []string) {
	t.Helper()
	if len(files) == 0 {
		t.Fatal("there is no story to play")
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(env *testscript.Env) error {
			env.Values[storyKey{}] = begin(env)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lab": cmdLab, "start": cmdStart, "end": cmdEnd, "kill9": cmdKill, "plug": cmdPlug, "images": cmdImages, "program": cmdProgram, "clean": cmdClean,
			"docker": cmdPlain("docker"), "host": cmdPlain("host"), "world": cmdPlain("world"), "soon": cmdSoon, "let": cmdLet,
		},
		RequireUniqueNames: true,
	})
}

// storyKey is under which a script finds its story.
type storyKey struct{}

// story is what the commands of one script share.
type story struct {
	options Options
	lab     *Lab
}

// of finds the script's story; needLab ends a script that has not built its lab yet.
func of(ts *testscript.TestScript, needLab bool) *story {
	s := ts.Value(storyKey{}).(*story)
	if needLab && s.lab == nil {
		ts.Fatalf("a story begins with: lab [N]")
	}
	return s
}

// host finds a host by its name.
func (s *story) host(ts *testscript.TestScript, name string) *Host {
	for _, h := range s.lab.hosts {
		if h.Name == name {
			return h
		}
	}
	ts.Fatalf("there is no host %q", name)
	return nil
}

// cmdLab builds the lab, and sees to it that the log of an engine is shown if the story fails.
func cmdLab(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, false)
	if neg || s.lab != nil {
		ts.Fatalf("lab comes once, and without !")
	}
	if len(args) > 1 && args[0] == "-bridge-nf" {
		s.options.BridgeNF = map[string]BridgeNF{"on": BridgeNFOn, "off": BridgeNFOff}[args[1]]
		args = args[2:]
	}
	if len(args) > 0 {
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		s.options.Hosts = n
	}
	l, err := Up(s.options)
	ts.Check(err)
	s.lab = l
	ts.Defer(func() { s.end(ts) })
	s.tell(ts.Setenv)
}

// tell puts into a script's environment where things are in its lab.
func (s *story) tell(set func(name, value string)) {
	for _, h := range s.lab.hosts {
		name := strings.ToUpper(h.Name)
		set(name, h.Addr4.String())
		set(name+"_6", h.Addr6.String())
		set(name+"_SOCKET", "unix://"+h.Socket())
		set(name+"_LOG", h.file("engine.log"))
		set(name+"_CLIENT", h.file("client"))
	}
	set("LINKSPAN", filepath.Join(filepath.Dir(s.options.Engine), "linkspan"))
	set("DNSLOG", s.lab.World().file("dns.log"))
	set("WORLD", worldAddr4)
	set("WORLD_6", worldAddr6)
	set("BEYOND", beyondAddr4)
	set("BEYOND_6", beyondAddr6)
}

// end closes the lab. The engines' last words go into the script's log, which is shown only if the script failed.
func (s *story) end(ts *testscript.TestScript) {
	for _, h := range s.lab.hosts {
		if h.engine != nil {
			ts.Logf("the engine on %s wrote at last:\n%s", h.Name, lastLines(h.Log(), 40))
		}
	}
	ts.Check(s.lab.Close())
}

// step runs a command that acts on the host named first.
func step(ts *testscript.TestScript, neg bool, args []string, act func(context.Context, *Host, []string) error) {
	s := of(ts, true)
	if len(args) == 0 {
		ts.Fatalf("which host?")
	}
	ctx, cancel := context.WithTimeout(context.Background(), storyStep)
	defer cancel()
	verdict(ts, neg, act(ctx, s.host(ts, args[0]), args[1:]))
}

// verdict ends the script if a command failed, or if it did not and should have.
func verdict(ts *testscript.TestScript, neg bool, err error) {
	switch {
	case err != nil && neg:
		ts.Logf("[%v]", err)
	case err != nil:
		ts.Fatalf("%v", err)
	case neg:
		ts.Fatalf("this should have failed")
	}
}

func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	step(ts, neg, args, func(ctx context.Context, h *Host, words []string) error {
		first := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") })
		if first < 0 {
			first = len(words)
		}
		h.Env = words[:first]
		return h.Start(ctx, words[first:]...)
	})
}

func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	step(ts, neg, args, func(ctx context.Context, h *Host, _ []string) error { return h.Stop(ctx) })
}

func cmdKill(ts *testscript.TestScript, neg bool, args []string) {
	step(ts, neg, args, func(ctx context.Context, h *Host, _ []string) error { return h.Kill(ctx) })
}

func cmdPlug(ts *testscript.TestScript, neg bool, args []string) {
	step(ts, neg, args, func(ctx context.Context, h *Host, names []string) error {
		if len(names) != 1 {
			return errors.New("usage: plug HOST NAME")
		}
		return of(ts, true).lab.Plug(ctx, h.Machine, names[0])
	})
}

func cmdImages(ts *testscript.TestScript, neg bool, args []string) {
	step(ts, neg, args, func(ctx context.Context, h *Host, names []string) error { return h.Load(ctx, names...) })
}

// cmdProgram builds one of the lab's programs, statically: no container has the libraries of the real machine.
func cmdProgram(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: program NAME")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*storyStep)
	defer cancel()
	here, err := os.Getwd() // go test runs in the folder of the package
	ts.Check(err)
	path := ts.MkAbs(args[0])
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-o", path, "./cmd/"+args[0])
	build.Dir, build.Env = here, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("build %s: %v\n%s", args[0], err, out)
	}
	ts.Setenv(strings.ToUpper(args[0]), path)
}

func cmdClean(ts *testscript.TestScript, neg bool, args []string) {
	step(ts, neg, args, func(ctx context.Context, h *Host, _ []string) error { return h.CheckClean(ctx) })
}

// cmdPlain is the script command docker, host or world.
func cmdPlain(verb string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		s := of(ts, true)
		ctx, cancel := context.WithTimeout(context.Background(), storyStep)
		defer cancel()
		out := s.try(ctx, ts, append([]string{verb}, args...))
		out.show(ts)
		verdict(ts, neg, out.err)
	}
}

// cmdSoon tries a docker, host or world command until it ends as wanted.
func cmdSoon(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, true)
	if neg || len(args) < 2 {
		ts.Fatalf("usage: soon SECONDS [!] COMMAND…")
	}
	seconds, err := strconv.ParseFloat(args[0], 64)
	ts.Check(err)
	fail := args[1] == "!"
	if fail {
		args = args[1:]
	}
	limit := time.Duration(seconds * float64(time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), limit+storyStep)
	defer cancel()
	var out printed
	err = Until(ctx, limit, func() error {
		out = s.try(ctx, ts, args[1:])
		if fail && out.err == nil {
			return fmt.Errorf("it succeeds")
		} else if fail {
			return nil
		}
		return out.err
	})
	out.show(ts)
	verdict(ts, false, err)
}

// cmdLet keeps what the last command printed.
func cmdLet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: let NAME")
	}
	ts.Setenv(args[0], strings.TrimSuffix(ts.ReadFile("stdout"), "\n"))
}

// printed is what came of a command.
type printed struct {
	stdout, stderr bytes.Buffer
	err            error
}

// show gives the script what the command printed, for its stdout and stderr commands.
func (p *printed) show(ts *testscript.TestScript) {
	_, _ = p.stdout.WriteTo(ts.Stdout())
	_, _ = p.stderr.WriteTo(ts.Stderr())
}

// try runs "docker [-on HOST] ARG…", "host HOST CMD…" or "world CMD…".
func (s *story) try(ctx context.Context, ts *testscript.TestScript, words []string) printed {
	verb, args := words[0], words[1:]
	var cmd *exec.Cmd
	switch {
	case verb == "docker":
		on := "h1"
		if len(args) > 1 && args[0] == "-on" {
			on, args = args[1], args[2:]
		}
		docker, err := s.host(ts, on).DockerCommand(ctx, args...)
		ts.Check(err)
		docker.Dir = ts.MkAbs(".")
		cmd = docker
	case verb == "host" && len(args) > 1:
		cmd = s.host(ts, args[0]).Command(ctx, args[1:]...)
	case verb == "world" && len(args) > 0:
		cmd = s.lab.World().Command(ctx, args...)
	default:
		ts.Fatalf("not a command of a story: %s", strings.Join(words, " "))
	}
	var p printed
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	if p.err = cmd.Run(); p.err != nil {
		p.err = fmt.Errorf("%s: %w: %s", strings.Join(words, " "), p.err, strings.TrimSpace(p.stderr.String()))
	}
	return p
}
