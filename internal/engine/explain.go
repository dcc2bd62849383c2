package engine

import (
	"errors"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// explain says in the users' nouns whom each failure in err is about, and of what
// kind it is. next is what was wanted; what it removed is in the present snapshot.
func (e *Engine) explain(err error, next *state.Snapshot) error {
	for _, f := range desired.Failures(err) {
		if f.Subject = subjectOf(f.Owner, next); f.Subject == "" {
			f.Subject = subjectOf(f.Owner, e.Snapshot())
		}
	}
	var taken *desired.NameTaken
	if errors.As(err, &taken) {
		err = &model.Error{Op: "endpoint.attach", Kind: model.Unfit, Err: err}
	}
	var held *desired.PortTaken
	if errors.As(err, &held) {
		err = &model.Error{Op: "port.claim", Kind: model.Unfit, Err: err, Who: held.Who}
	}
	return err
}

// subjectOf names an owner; empty if the snapshot does not have it.
func subjectOf(owner desired.Owner, s *state.Snapshot) string {
	kind, id, _ := strings.Cut(string(owner), "/")
	switch kind {
	case "network":
		if n, ok := s.Network(model.NetworkID(id)); ok {
			return "network " + n.Name
		}
	case "parent":
		return "parent interface " + id
	case string(desired.TunnelOwner):
		return "tunnel of encrypted networks"
	case "sandbox":
		if sb, ok := s.Sandbox(model.SandboxID(id)); ok {
			return "container " + sb.Name
		}
	case "endpoint":
		end, ok := s.Endpoint(model.EndpointID(id))
		if !ok {
			return ""
		}
		sb, _ := s.Sandbox(end.Sandbox)
		n, _ := s.Network(end.Network)
		return "container " + sb.Name + " on network " + n.Name
	}
	return ""
}
