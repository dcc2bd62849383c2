package netplugin

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/linkspan/linkspan/conformance/report"
)

type joinAnswer struct {
	InterfaceName        *struct{ SrcName, DstPrefix string }
	Gateway, GatewayIPv6 string
	StaticRoutes         []struct {
		Destination string
		RouteType   int
		NextHop     string
	}
}

// joined is an endpoint that has joined a container.
func (s *stage) joined() (e createEndpoint, got joinAnswer, err error) {
	if e, _, err = s.put(); err != nil {
		return e, got, err
	}
	in := e.at()
	in.put("SandboxKey", "/var/run/docker/netns/conform").put("Options", object{})
	if err = s.do(network+"Join", in, &got); err == nil {
		s.undo = append(s.undo, func() { s.call(network+"Leave", e.at()) }) //nolint:errcheck // the case has told
	}
	return e, got, err
}

// joinCases are about endpoints in containers.
func joinCases() []Case {
	const (
		names = "An interface is named as the host has it, in at most 15 bytes, with the prefix of its name in the container."
		leads = "A gateway is an address of its family, without a length."
	)
	return []Case{
		{Name: "join/interface", Level: report.Must, Spec: names, role: NetworkRole, play: func(s *stage) error {
			_, got, err := s.joined()
			if i := got.InterfaceName; err == nil && i != nil && i.SrcName != "" {
				if len(i.SrcName) > maxName || strings.ContainsAny(i.SrcName, "/ \n") || i.DstPrefix == "" || len(i.DstPrefix) >= maxName {
					err = fmt.Errorf("InterfaceName is %+v", *i)
				}
			}
			return err
		}},
		{Name: "join/gateway", Level: report.Must, Spec: leads, role: NetworkRole, play: func(s *stage) error {
			_, got, err := s.joined()
			if err != nil {
				return err
			}
			for _, g := range []struct {
				text string
				six  bool
			}{{got.Gateway, false}, {got.GatewayIPv6, true}} {
				if a, bad := netip.ParseAddr(g.text); g.text != "" && (bad != nil || a.Is6() != g.six) {
					return fmt.Errorf("gateway %q", g.text)
				}
			}
			return nil
		}},
		{Name: "join/routes", Level: report.Must, Spec: "A static route has a destination as CIDR; one of type 0 a next hop of its family, one of type 1 is to the link.", role: NetworkRole, play: func(s *stage) error {
			_, got, err := s.joined()
			if err != nil {
				return err
			}
			for _, r := range got.StaticRoutes {
				p, bad := netip.ParsePrefix(r.Destination)
				hop, worse := netip.ParseAddr(r.NextHop)
				if bad != nil || r.RouteType < 0 || r.RouteType > 1 || r.RouteType == 0 && (worse != nil || hop.Is4() != p.Addr().Is4()) {
					return fmt.Errorf("static route %+v", r)
				}
			}
			return nil
		}},
	}
}

// leaveCases are about what comes after Join, and what cannot.
func leaveCases() []Case {
	return []Case{
		{Name: "join/unknown", Level: report.Must, Spec: notThere, role: NetworkRole, play: func(s *stage) error {
			in := s.endpoint(createNetwork{NetworkID: s.id()}, 5).at()
			in.put("SandboxKey", "/var/run/docker/netns/conform")
			return both(s.refused(network+"Join", in), s.lives)
		}},
		{Name: "join/info", Level: report.Must, Spec: "An endpoint that has joined tells of itself.", role: NetworkRole, play: func(s *stage) error {
			e, _, err := s.joined()
			if err != nil {
				return err
			}
			return s.do(network+"EndpointOperInfo", e.at(), nil)
		}},
		{Name: "join/leave-and-join", Level: report.Must, Spec: "What has left its container can join again.", role: NetworkRole, play: func(s *stage) error {
			e, _, err := s.joined()
			if err != nil {
				return err
			}
			if err := s.do(network+"Leave", e.at(), nil); err != nil {
				return err
			}
			in := e.at()
			in.put("SandboxKey", "/var/run/docker/netns/conform2").put("Options", object{})
			return s.do(network+"Join", in, nil)
		}},
		{Name: "join/leave-unknown", Level: report.Should, Spec: notThere, role: NetworkRole, play: func(s *stage) error {
			return both(s.refused(network+"Leave", s.endpoint(createNetwork{NetworkID: s.id()}, 5).at()), s.lives)
		}},
		{Name: "join/outward", Level: report.Must, Spec: "ProgramExternalConnectivity and RevokeExternalConnectivity may be missing (404), and otherwise are done.", role: NetworkRole, play: func(s *stage) error {
			e, _, err := s.joined()
			if err != nil {
				return err
			}
			for _, method := range []string{"ProgramExternalConnectivity", "RevokeExternalConnectivity"} {
				in := e.at()
				in.put("Options", one("com.docker.network.portmap", []object{}).put("com.docker.network.endpoint.exposedports", []object{}))
				a, err := s.call(network+method, in)
				if text := refusal(a.status, a.raw); err == nil && text != "" && a.status != 404 {
					err = fmt.Errorf("%s is refused: %s", method, text)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "join/life", Level: report.Must, Spec: "Join, Leave, DeleteEndpoint and DeleteNetwork take an endpoint and its network away.", role: NetworkRole, play: func(s *stage) error {
			e, _, err := s.joined()
			for _, method := range []string{"Leave", "DeleteEndpoint", "DeleteNetwork"} {
				if err == nil {
					err = s.do(network+method, e.at(), nil)
				}
			}
			return err
		}},
	}
}
