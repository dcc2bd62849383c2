// Package diagnose says what is wrong, and whose it is, by evidence that others gathered:
// of the way from one party to another (Trace), and of a whole host (Doctor).
//
//	evidence.Path ─▶ Trace ─▶ Report: what holds, step by step; the first that does not
//	evidence.Host ─▶ Doctor ─▶ []Finding: a tree of checks, with what mends each
//
// It is pure, and blames nobody for what it does not know: what could not be seen is
// "unknown", never "wrong".
package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/facts"
)

// Status is what a check came to.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Note    Status = "note"  // worth knowing, and not in the way
	Wrong   Status = "wrong" // this is in the way
	Unknown Status = "unknown"
)

// Step is one look at the way.
type Step struct {
	About  string // "name", "sender", "firewall" ...
	Status Status
	Text   string
	Whose  string `json:",omitempty"` // who can do something about it
	WayOut string `json:",omitempty"` // what

	// stands says that it counts though a connection came about.
	stands bool
}

// Outcome is the answer in a word.
type Outcome string

// The outcomes.
const (
	Reachable Outcome = "reachable"
	Broken    Outcome = "broken"
	Unclear   Outcome = "unclear"
)

// Report is what is said of a way.
type Report struct {
	Outcome Outcome
	Verdict string // the answer in a sentence
	Whose   string `json:",omitempty"`
	WayOut  string `json:",omitempty"`
	Steps   []Step
}

// Trace says why one party does not reach another, or that it does.
func Trace(p evidence.Path) Report {
	var steps []Step
	for _, look := range []func(evidence.Path) []Step{
		parties, names, sender, hostPorts, neighbour, firewall, balanced, connections, wayOut, receiver, wayBack, packetSize,
	} {
		found := look(p)
		steps = append(steps, found...)
		if ends(found) {
			break
		}
	}
	return conclude(p, steps)
}

// ends tells whether the rest cannot be looked at: a party is not there.
func ends(found []Step) bool {
	for _, s := range found {
		if s.About == aboutParties && s.Status == Wrong && !s.stands {
			return true
		}
	}
	return false
}

// conclude takes back what an attempt has refuted, and says the first thing that is wrong.
func conclude(p evidence.Path, steps []Step) Report {
	through := p.Probe.Result == evidence.ProbeConnected
	r := Report{}
	for i := range steps {
		s := &steps[i]
		if s.Status == Wrong && through && !s.stands {
			s.Status, s.Text = Note, s.Text+" (and yet an attempt came through)"
		}
		if s.Status == Wrong && r.Outcome == "" {
			r = Report{Outcome: Broken, Verdict: s.Text, Whose: s.Whose, WayOut: s.WayOut}
		}
	}
	last := attempt(p, r.Outcome == Broken)
	steps = append(steps, last...)
	r.Steps = steps
	if r.Outcome != "" {
		return r
	}
	for _, s := range last {
		if s.Status == Wrong {
			return Report{Outcome: Broken, Verdict: s.Text, Whose: s.Whose, WayOut: s.WayOut, Steps: steps}
		}
	}
	return sum(p, r)
}

// sum is the answer where nothing is wrong.
func sum(p evidence.Path, r Report) Report {
	switch {
	case p.Probe.Result == evidence.ProbeConnected:
		r.Outcome, r.Verdict = Reachable, fmt.Sprintf("%s reaches %s", partyText(p.From), targetText(p))
		return r
	case p.Probe.Result == evidence.ProbeSilent:
		r.Outcome = Unclear
		r.Verdict = fmt.Sprintf("nothing on this host is in the way from %s to %s, and no answer came", partyText(p.From), targetText(p))
		if p.Gets().Kind == evidence.Outside {
			r.Verdict += ": see what lies beyond this host"
		}
		return r
	}
	for _, s := range r.Steps {
		if s.Status == Unknown {
			r.Outcome, r.Verdict = Unclear, "cannot tell: "+s.Text
			return r
		}
	}
	r.Outcome, r.Verdict = Reachable, fmt.Sprintf("nothing is in the way from %s to %s (nothing was sent)", partyText(p.From), targetText(p))
	return r
}

// theAdministrator is whose it is what is set on the host.
const theAdministrator = "the administrator of this host"

// What steps are about.
const (
	aboutParties  = "parties"
	aboutName     = "name"
	aboutSender   = "sender"
	aboutPorts    = "bridge"
	aboutHop      = "neighbour"
	aboutFirewall = "firewall"
	aboutService  = "service"
	aboutTable    = "connections"
	aboutOut      = "way out"
	aboutReceiver = "receiver"
	aboutBack     = "way back"
	aboutSize     = "packet size"
	aboutAttempt  = "attempt"
)

func ok(about, format string, args ...any) Step {
	return Step{About: about, Status: OK, Text: fmt.Sprintf(format, args...)}
}

func note(about, format string, args ...any) Step {
	return Step{About: about, Status: Note, Text: fmt.Sprintf(format, args...)}
}

func unknown(about, format string, args ...any) Step {
	return Step{About: about, Status: Unknown, Text: fmt.Sprintf(format, args...)}
}

// wrong is a step that is in the way: whose it is, what can be done, and what it is.
func wrong(about, whose, way, format string, args ...any) Step {
	return Step{About: about, Status: Wrong, Whose: whose, WayOut: way, Text: fmt.Sprintf(format, args...)}
}

// standing is wrong though a connection comes about.
func (s Step) standing() Step {
	s.stands = true
	return s
}

// partyText is a party in words.
func partyText(p evidence.Party) string {
	switch p.Kind {
	case evidence.TheHost:
		return "the host"
	case evidence.Container:
		return "container " + p.Name
	case evidence.AService:
		return "service " + p.Name
	}
	if p.Name == "" {
		return "another machine"
	}
	return p.Name
}

// targetText is where the way leads, with its address and port.
func targetText(p evidence.Path) string {
	at := addressText(p)
	if p.To.Kind == evidence.Outside && p.To.Name == p.Target.String() {
		return at
	}
	if at == "" {
		return partyText(p.To)
	}
	return partyText(p.To) + " (" + at + ")"
}

func addressText(p evidence.Path) string {
	if !p.Target.IsValid() {
		return ""
	}
	if p.Port == 0 {
		return p.Target.String()
	}
	text := fmt.Sprintf("%s:%d", p.Target, p.Port)
	if p.Target.Is6() {
		text = fmt.Sprintf("[%s]:%d", p.Target, p.Port)
	}
	return text + "/" + string(p.Protocol)
}

// parties says whether both are there.
func parties(p evidence.Path) []Step {
	var out []Step
	for _, one := range []evidence.Party{p.From, p.To} {
		out = append(out, party(one)...)
	}
	return out
}

func party(one evidence.Party) []Step {
	whose := "whoever runs container " + one.Name
	switch {
	case one.Kind != evidence.Container:
		return nil
	case !one.Running():
		text := fmt.Sprintf("container %s does not run: it is %s", one.Name, one.State)
		if one.State == "exited" || one.State == "restarting" {
			text += fmt.Sprintf(" (exit status %d)", one.ExitCode)
		}
		return []Step{wrong(aboutParties, whose, fmt.Sprintf("docker logs %s; docker start %s", one.Name, one.Name), "%s", text)}
	case one.State == "paused":
		return []Step{wrong(aboutParties, whose, "docker unpause "+one.Name,
			"container %s is paused: the kernel answers for it, its processes do not", one.Name).standing()}
	case one.Namespace != "" && len(one.Networks) == 0:
		return []Step{wrong(aboutParties, whose, "docker network connect NETWORK "+one.Name, "container %s is on no network", one.Name)}
	}
	if len(one.Networks) == 0 {
		return []Step{ok(aboutParties, "container %s runs, on the host's own network", one.Name)}
	}
	var on []string
	for _, m := range one.Networks {
		on = append(on, m.Network)
	}
	return []Step{ok(aboutParties, "container %s runs, on %s", one.Name, strings.Join(on, ", "))}
}

// firewall says what the rules of the host make of it.
func firewall(p evidence.Path) []Step {
	v := p.Firewall
	switch {
	case !v.Asked:
		return nil
	case v.Err != "":
		return []Step{unknown(aboutFirewall, "the rules of the host were not followed: %s", v.Err)}
	}
	whose := theAdministrator
	if v.Ours {
		whose = "linkspan"
		if v.For != "" {
			whose = "linkspan, for " + v.For
		}
	}
	switch facts.Outcome(v.Outcome) {
	case facts.OutcomeDropped, facts.OutcomeRejected:
		return []Step{wrong(aboutFirewall, whose, v.WayOut, "on this host %s %s it", v.Decides, verb(v.Outcome))}
	case facts.OutcomeUnreachable:
		return []Step{unroutable(p)}
	case facts.OutcomeUnknown:
		return []Step{unknown(aboutFirewall, "whether a rule drops it cannot be told: %s", v.Decides)}
	}
	if s := shut(p); s != nil {
		return []Step{*s}
	}
	return []Step{ok(aboutFirewall, "no rule of the host drops it")}
}

// unroutable says why the host does not route a packet.
func unroutable(p evidence.Path) Step {
	if s := shut(p); s != nil {
		return *s
	}
	return wrong(aboutFirewall, theAdministrator, fmt.Sprintf("ip route get %s; ip rule; see also rp_filter", p.Target), "this host has no route for it: %s", p.Firewall.Decides)
}

// forwarded tells whether the host hands the packet from one interface to another.
func forwarded(p evidence.Path) bool {
	v := p.Firewall
	if v.In == "" || v.Out == "" && facts.Outcome(v.Outcome) != facts.OutcomeUnreachable {
		return false
	}
	for _, m := range p.From.Networks {
		for _, o := range p.Gets().Networks {
			if m.Bridge != "" && m.Bridge == o.Bridge && slices.Contains(o.Addrs, received(p)) {
				return false
			}
		}
	}
	return true
}

// shut says whether the host does not forward what it would have to; nil: it does.
func shut(p evidence.Path) *Step {
	if p.Host == nil || !forwarded(p) {
		return nil
	}
	settings := map[string]string{"net/ipv4/ip_forward": ""}
	if p.Target.Is6() {
		settings = map[string]string{"net/ipv6/conf/all/forwarding": ""}
	} else {
		settings["net/ipv4/conf/"+p.Firewall.In+"/forwarding"] = p.Firewall.In
		settings["net/ipv4/conf/"+p.Firewall.Out+"/forwarding"] = p.Firewall.Out // of the answers
		for _, m := range p.From.Networks {
			if m.Port == p.Firewall.In && m.Bridge != "" {
				settings["net/ipv4/conf/"+m.Bridge+"/forwarding"] = m.Bridge
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(settings)) {
		link := settings[path]
		if p.Host.Settings[path] != "0" || link != "" && p.Host.Settings["net/ipv4/ip_forward"] == "0" {
			continue
		}
		what := "this host does not forward packets"
		if link != "" {
			what = "this host does not forward what comes in by " + link
		}
		s := wrong(aboutFirewall, theAdministrator, "sysctl -w "+dotted(path)+"=1", "%s (%s is 0)", what, dotted(path))
		return &s
	}
	return nil
}

// dotted is a path below /proc/sys as sysctl(8) writes it.
func dotted(path string) string { return strings.ReplaceAll(path, "/", ".") }

// connections says whether the kernel can remember one more.
func connections(p evidence.Path) []Step {
	c := p.Connections
	switch {
	case c.Max == 0:
		return nil
	case c.Count >= c.Max:
		return []Step{wrong(aboutTable, theAdministrator, "sysctl -w net.netfilter.nf_conntrack_max="+fmt.Sprint(2*c.Max)+"; conntrack -L shows what fills it",
			"the table of connections is full: %d of %d", c.Count, c.Max)}
	case c.Count*10 >= c.Max*9:
		return []Step{note(aboutTable, "the table of connections is nearly full: %d of %d", c.Count, c.Max)}
	}
	return []Step{ok(aboutTable, "the table of connections has room: %d of %d", c.Count, c.Max)}
}

// attempt says what a real attempt came to. known says that it is known why.
func attempt(p evidence.Path, known bool) []Step {
	took := p.Probe.Took.Milliseconds()
	switch p.Probe.Result {
	case evidence.ProbeConnected:
		return []Step{ok(aboutAttempt, "an attempt came through in %d ms", took)}
	case evidence.ProbeSilent:
		return []Step{note(aboutAttempt, "an attempt had no answer in %d ms", took)}
	case evidence.ProbeFailed:
		return []Step{unknown(aboutAttempt, "no attempt could be made: %s", p.Probe.Err)}
	case evidence.ProbeRefused, evidence.ProbeUnreachable:
		if known {
			return []Step{note(aboutAttempt, "an attempt failed: %s", p.Probe.Err)}
		}
		return []Step{refused(p)}
	}
	return nil
}

// refused is an attempt that failed for a reason that is not on this host.
func refused(p evidence.Path) Step {
	if p.Probe.Result == evidence.ProbeRefused && p.Gets().Kind == evidence.Outside {
		return wrong(aboutAttempt, "whoever runs "+p.Target.String(), "", "%s refuses: nobody waits at that port there, or a firewall there says so", targetText(p))
	}
	whose := "whoever runs " + p.Target.String()
	if p.Gets().Kind != evidence.Outside {
		whose = ""
	}
	return wrong(aboutAttempt, whose, "", "an attempt failed: %s", p.Probe.Err)
}
