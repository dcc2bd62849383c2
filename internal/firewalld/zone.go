package firewalld

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// What Docker calls them: an administrator's rules may be about them already.
const (
	zone   = "docker"
	policy = "docker-forwarding"
)

const reload = service + ".reload"

// sync makes the zone, if need be, and lets bridges join it and leave it. What was
// seen to once is not looked at again.
func (s *session) sync(ctx context.Context) error {
	want := s.wanted()
	maps.DeleteFunc(s.settled, func(bridge string, _ bool) bool { return !want[bridge] && !s.mine[bridge] })
	join, leave := without(want, s.settled), without(s.mine, want)
	if s.ready && len(join)+len(leave) == 0 {
		return nil
	}
	if !s.ready {
		if err := s.makeZone(ctx); err != nil {
			return err
		}
		s.ready = true
	}
	there, err := s.names(ctx, service+".zone.getInterfaces", zone)
	if err != nil {
		s.ready = codeOf(err) != "INVALID_ZONE" // somebody has removed it
		return err
	}
	var failed []error
	for _, bridge := range leave {
		if failed = append(failed, s.leave(ctx, bridge, slices.Contains(there, bridge))); unanswered(failed) {
			return errors.Join(failed...)
		}
	}
	for _, bridge := range join {
		if failed = append(failed, s.join(ctx, bridge, slices.Contains(there, bridge))); unanswered(failed) {
			break
		}
	}
	return errors.Join(failed...)
}

// without are the keys of a that are not in b, sorted.
func without(a, b map[string]bool) (out []string) {
	for name := range a {
		if !b[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// unanswered tells whether the last of the failures is that there was no answer.
func unanswered(failed []error) bool {
	return len(failed) > 0 && failed[len(failed)-1] != nil && codeOf(failed[len(failed)-1]) == ""
}

// join lets a bridge join the zone. One that somebody has bound to another zone stays
// there.
func (s *session) join(ctx context.Context, bridge string, there bool) error {
	if !there {
		_, err := s.main(ctx, service+".zone.addInterface", zone, bridge)
		switch code := codeOf(err); {
		case err == nil, code == "ZONE_ALREADY_SET", code == "ALREADY_ENABLED":
		case code == "ZONE_CONFLICT":
			s.settled[bridge] = true
			s.warn("interface "+bridge+" stays in the zone of firewalld that somebody has chosen, not "+zone+
				": what that does not let through is cut off. firewall-cmd --zone=ZONE --remove-interface="+bridge+" and a reload change it", err)
			return nil
		default:
			return err
		}
	}
	s.settled[bridge], s.mine[bridge] = true, true
	return nil
}

// leave lets a bridge leave the zone, if it is still there.
func (s *session) leave(ctx context.Context, bridge string, there bool) error {
	if there {
		_, err := s.main(ctx, service+".zone.removeInterface", zone, bridge)
		if err != nil && !slices.Contains([]string{"UNKNOWN_INTERFACE", "NOT_ENABLED", "ZONE_CONFLICT"}, codeOf(err)) {
			return err
		}
	}
	delete(s.settled, bridge)
	delete(s.mine, bridge)
	return nil
}

// makeZone sees to it that the zone and the policy are there. They are configuration,
// which takes effect with a reload.
func (s *session) makeZone(ctx context.Context) error {
	zones, err := s.names(ctx, service+".zone.getZones")
	if err != nil {
		return err
	}
	made := false
	if !slices.Contains(zones, zone) {
		if err := s.addZone(ctx); err != nil {
			return err
		}
		made = true
	}
	policies, err := s.names(ctx, service+".policy.getPolicies")
	switch {
	case isUnknown(err): // firewalld before 0.9 has none, and needs none
	case err != nil:
		return err
	case !slices.Contains(policies, policy):
		if err := s.addPolicy(ctx); err != nil {
			return err
		}
		made = true
	}
	if !made {
		return nil
	}
	s.log.Info("made firewalld's zone "+zone+" and its policy "+policy+": it reloads", "op", "firewalld.zone")
	if s.before != nil {
		defer s.before(ctx)(ctx)
	}
	_, err = s.main(ctx, reload)
	return err
}

// addZone makes the zone. One that is there and not in effect needs the reload alone.
func (s *session) addZone(ctx context.Context) error {
	const description = "zone for docker bridge network interfaces"
	_, err := s.config(ctx, "addZone2", zone, map[string]dbus.Variant{
		"version": dbus.MakeVariant("1.0"), "description": dbus.MakeVariant(description), "target": dbus.MakeVariant("ACCEPT"),
	})
	if isUnknown(err) { // firewalld before 0.9
		_, err = s.config(ctx, "addZone", zone, settings{Version: "1.0", Name: zone, Description: description, Target: "ACCEPT"})
	}
	return unlessThere(err)
}

// addPolicy makes the policy by which all zones may forward to the zone.
func (s *session) addPolicy(ctx context.Context) error {
	_, err := s.config(ctx, "addPolicy", policy, map[string]dbus.Variant{
		"version": dbus.MakeVariant("1.0"), "description": dbus.MakeVariant("allow forwarding to the docker zone"),
		"ingress_zones": dbus.MakeVariant([]string{"ANY"}), "egress_zones": dbus.MakeVariant([]string{zone}),
		"target": dbus.MakeVariant("ACCEPT"),
	})
	return unlessThere(err)
}

// isUnknown tells whether firewalld is too old to have the method.
func isUnknown(err error) bool {
	return slices.Contains([]string{busName + ".Error.UnknownMethod", busName + ".Error.UnknownInterface"}, codeOf(err))
}

func unlessThere(err error) error {
	if codeOf(err) == "NAME_CONFLICT" {
		return nil
	}
	return err
}

// settings are those of a zone, in the order in which firewalld before 0.9 wants them
// (firewalld.dbus(5), config.addZone).
type settings struct {
	Version, Name, Description string
	Unused                     bool
	Target                     string
	Services                   []string
	Ports                      []portSetting
	ICMPBlocks                 []string
	Masquerade                 bool
	ForwardPorts               []forwardSetting
	Interfaces, Sources, Rules []string
	Protocols                  []string
	SourcePorts                []portSetting
	ICMPBlockInversion         bool
}

type portSetting struct{ Port, Protocol string }

type forwardSetting struct{ Port, Protocol, ToPort, ToAddr string }

// codeOf is the code of a failure: firewalld's own, or else the D-Bus name of the
// error; empty for what is no answer.
func codeOf(err error) string {
	var answer dbus.Error
	if !errors.As(err, &answer) {
		return ""
	}
	if answer.Name != service+".Exception" {
		return answer.Name
	}
	if len(answer.Body) == 0 {
		return ""
	}
	code, _, _ := strings.Cut(fmt.Sprint(answer.Body[0]), ":")
	return code
}
