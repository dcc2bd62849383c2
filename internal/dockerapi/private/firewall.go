package private

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// firewall shows what the firewall was asked for, by who asked: in words, or as JSON.
func (d *server) firewall(w http.ResponseWriter, r *http.Request) {
	all := d.reader.Policies()
	if r.URL.Query().Get("format") == "json" {
		d.json(w, r, all)
		return
	}
	var out bytes.Buffer
	for i, a := range all {
		if i > 0 {
			out.WriteByte('\n')
		}
		title := a.String()
		if a.ID != "" {
			title += " (" + a.ID + ")"
		}
		line(&out, "%s", title)
		for _, rule := range a.Rules {
			line(&out, "  %s", rule.Text)
		}
	}
	d.text(w, r, out.String())
}

// explain follows a packet through the rules.
func (d *server) explain(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	e, err := d.reader.Explain(r.Context(), inspect.Question{Target: query.Get("target"), From: query.Get("from"), To: query.Get("to")})
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	answer := traceAnswer(e)
	if query.Get("format") == "json" {
		d.json(w, r, answer)
		return
	}
	d.text(w, r, traceText(answer))
}

func traceAnswer(e inspect.Explanation) privateapi.Path {
	out := privateapi.Path{
		Outcome: string(e.Outcome), Protocol: cmp.Or(string(e.Packet.Protocol), "icmp"), From: addrText(e.Packet.From), Sender: e.Sender,
		To: targetText(e.Packet.To), In: e.In, Out: e.Out, Steps: []privateapi.Step{},
		Arrives: privateapi.Arrival{From: addrText(e.Trace.From), To: targetText(e.Trace.To), Receiver: e.Receiver},
	}
	for i, s := range e.Steps {
		step := privateapi.Step{
			Hook: s.Hook, Table: s.Table, Chain: s.Chain, Rule: s.Rule, Comment: s.Comment, Verdict: s.Verdict,
			Decides: s.Decides, Doubt: s.Doubt, WayOut: s.WayOut,
		}
		switch {
		case s.Ours && e.For[i] != "":
			step.Owner = "linkspan, for " + e.For[i]
		case s.Ours:
			step.Owner = "linkspan"
		case s.Table != "":
			step.Owner = "foreign"
		}
		out.Steps = append(out.Steps, step)
	}
	out.Verdict = verdict(out)
	return out
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return "the host"
	}
	return a.String()
}

func targetText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// verdict is the answer in a line.
func verdict(a privateapi.Path) string {
	who := a.From
	if a.Sender != "" {
		who += " (" + a.Sender + ")"
	}
	head := fmt.Sprintf("%s: %s from %s to %s", a.Outcome, a.Protocol, who, a.To)
	switch facts.Outcome(a.Outcome) {
	case facts.OutcomeAccepted:
		if a.Out == "" {
			return head + ": it is for " + cmp.Or(a.Arrives.Receiver, "the host itself")
		}
		to := a.Arrives.To
		if a.Arrives.Receiver != "" {
			to += " (" + a.Arrives.Receiver + ")"
		}
		return fmt.Sprintf("%s: arrives at %s, from %s", head, to, a.Arrives.From)
	case facts.OutcomeUnknown:
		for _, s := range a.Steps {
			if s.Doubt != "" {
				return fmt.Sprintf("%s: %s: %s", head, where(s), s.Doubt)
			}
		}
	}
	for _, s := range a.Steps {
		if s.Decides {
			return head + ": " + where(s)
		}
	}
	return head
}

// where is a rule in a line, and whose it is.
func where(s privateapi.Step) string {
	if s.Table == "" {
		return s.Verdict
	}
	what := cmp.Or(s.Rule, s.Verdict)
	if s.Comment != "" && strings.HasPrefix(s.Owner, "linkspan") {
		what = s.Comment
	}
	return fmt.Sprintf("by %s, chain %s: %s [%s]", s.Table, s.Chain, what, s.Owner)
}

// traceText is the answer, then each step in a line.
func traceText(a privateapi.Path) string {
	var out bytes.Buffer
	line(&out, "%s", a.Verdict)
	for _, s := range a.Steps {
		if s.WayOut != "" {
			line(&out, "%s", s.WayOut)
		}
	}
	in := cmp.Or(a.In, "a program of the host")
	out.WriteByte('\n')
	line(&out, "The first packet of a new connection, from %s:", in)
	hook := ""
	for _, s := range a.Steps {
		if s.Hook != hook {
			hook = s.Hook
			line(&out, "%s", hook)
		}
		line(&out, "%s", stepText(s))
	}
	return out.String()
}

func stepText(s privateapi.Step) string {
	mark := "  "
	if s.Decides {
		mark = "* "
	}
	if s.Table == "" {
		return mark + strings.TrimSpace(s.Verdict+" "+doubtText(s))
	}
	text := fmt.Sprintf("%s%s %s: ", mark, s.Table, s.Chain)
	if s.Rule != "" && !strings.HasSuffix(s.Rule, s.Verdict) {
		text += s.Rule + " => "
	}
	if strings.HasSuffix(s.Rule, s.Verdict) && s.Rule != "" {
		text += s.Rule
	} else {
		text += s.Verdict
	}
	if s.Comment != "" && strings.HasPrefix(s.Owner, "linkspan") {
		text += fmt.Sprintf(" (%s)", s.Comment)
	}
	text += " [" + s.Owner + "]"
	return text + doubtText(s)
}

func doubtText(s privateapi.Step) string {
	if s.Doubt == "" {
		return ""
	}
	return " -- cannot tell whether it matches: " + s.Doubt
}

func (d *server) json(w http.ResponseWriter, r *http.Request, answer any) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "    ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	d.write(w, r, "application/json", out.Bytes())
}
