package netplugin

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/conformance/report"
)

// activationCases are about what a plugin says of itself.
func activationCases() []Case {
	const (
		says      = "A plugin answers Plugin.Activate with the list of what it implements."
		again     = "An engine that starts anew activates a plugin that it knew."
		anyScope  = "GetCapabilities of a network driver has a Scope that is \"local\" or \"global\", and a ConnectivityScope that is one of these or empty."
		afterAway = "What a plugin is does not change while it runs."
	)
	return []Case{
		{Name: "activate/implements", Level: report.Must, Spec: says, play: func(s *stage) error {
			roles, err := s.roles()
			if err == nil && !slices.Contains(roles, NetworkRole) && !slices.Contains(roles, IPAMRole) {
				err = fmt.Errorf("it implements %q", roles)
			}
			return err
		}},
		{Name: "activate/again", Level: report.Must, Spec: again, play: func(s *stage) error {
			first, err := s.roles()
			if err != nil {
				return err
			}
			second, err := s.roles()
			if err == nil && !slices.Equal(first, second) {
				err = fmt.Errorf("it implements %q, then %q", first, second)
			}
			return err
		}},
		{Name: "activate/with-an-object", Level: report.Should, Spec: "A call that needs nothing may come with an empty object.", play: func(s *stage) error { return s.do(activate, object{}, nil) }},
		{Name: "activate/content-type", Level: report.Should, Spec: "An answer says which version of the protocol it is: " + mimeType + ".N+json.", play: func(s *stage) error {
			a, err := s.call(activate, nil)
			if got := a.header.Get("Content-Type"); err == nil && !strings.HasPrefix(got, mimeType) {
				err = fmt.Errorf("Content-Type is %q", got)
			}
			return err
		}},
		{Name: "capabilities/scope", Level: report.Must, Spec: anyScope, role: NetworkRole, play: func(s *stage) error {
			var c struct{ Scope, ConnectivityScope string }
			err := s.do(network+"GetCapabilities", nil, &c)
			if err == nil && (c.Scope != "local" && c.Scope != "global" || c.ConnectivityScope != "" && c.ConnectivityScope != "local" && c.ConnectivityScope != "global") {
				err = fmt.Errorf("Scope is %q, ConnectivityScope %q", c.Scope, c.ConnectivityScope)
			}
			return err
		}},
		{Name: "capabilities/same", Level: report.Must, Spec: afterAway, role: NetworkRole, play: func(s *stage) error { return s.same(network + "GetCapabilities") }},
		{Name: "capabilities/ipam-optional", Level: report.Must, Spec: "GetCapabilities of an IPAM driver may be missing, and is answered all the same.", role: IPAMRole, play: func(s *stage) error {
			_, err := s.call(ipam+"GetCapabilities", nil)
			return both(err, s.lives)
		}},
		{Name: "spaces/named", Level: report.Must, Spec: "An IPAM driver names its default address spaces.", role: IPAMRole, play: func(s *stage) error {
			space, err := s.space()
			if err == nil && space == "" {
				err = fmt.Errorf("LocalDefaultAddressSpace is empty")
			}
			return err
		}},
		{Name: "spaces/same", Level: report.Must, Spec: afterAway, role: IPAMRole, play: func(s *stage) error { return s.same(ipam + "GetDefaultAddressSpaces") }},
	}
}

// same makes a call twice that is to be answered alike.
func (s *stage) same(method string) error {
	first, err := s.call(method, nil)
	if err != nil {
		return err
	}
	second, err := s.call(method, nil)
	if err == nil && !bytes.Equal(bytes.TrimSpace(first.raw), bytes.TrimSpace(second.raw)) {
		err = fmt.Errorf("it is answered %s, then %s", first, second)
	}
	return err
}

// garbageCases are about what nobody should send. A plugin must answer, not do it, and
// live on.
func garbageCases() []Case {
	const (
		unread  = "What cannot be read is refused, and changes nothing."
		unknown = "A method that a plugin does not have is answered with a status that is not 200 (404), so that engines may ask for what is newer."
		newer   = "What a plugin does not know in a request it leaves alone: later versions of the protocol add fields."
	)
	var out []Case
	for _, role := range []struct{ name, method string }{{NetworkRole, network + "CreateNetwork"}, {IPAMRole, ipam + "RequestPool"}} {
		for _, bad := range []struct{ what, body string }{
			{"words", "not JSON"}, {"half", `{"NetworkID": "ab`}, {"list", `[]`}, {"string", `"network"`}, {"number", `7`},
			{"wrong-types", `{"NetworkID": 7, "AddressSpace": {}, "Pool": [], "PoolID": false}`},
			{"deep", strings.Repeat(`{"Options":`, 20000)}, {"nul", "\x00\x00\x00\x00"},
		} {
			out = append(out, Case{Name: "garbage/" + strings.ToLower(role.name) + "-" + bad.what, Level: report.Must, Spec: unread, role: role.name, play: func(s *stage) error {
				a, err := s.post(role.method, []byte(bad.body))
				if err == nil && refusal(a.status, a.raw) == "" {
					err = fmt.Errorf("it succeeds: %s", a)
				}
				return both(err, s.lives)
			}})
		}
	}
	return append(out,
		Case{Name: "garbage/unknown-method", Level: report.Must, Spec: unknown, play: func(s *stage) error {
			a, err := s.call("Plugin.Conform", object{})
			if err == nil && a.status == http.StatusOK {
				err = fmt.Errorf("it is answered: %s", a)
			}
			return both(err, s.lives)
		}},
		Case{Name: "garbage/unknown-method-404", Level: report.Should, Spec: unknown, role: NetworkRole, play: func(s *stage) error {
			a, err := s.call(network+"Conform", object{})
			if err == nil && a.status != http.StatusNotFound {
				err = fmt.Errorf("it is answered: %s", a)
			}
			return err
		}},
		Case{Name: "garbage/get", Level: report.Should, Spec: "Calls are POST.", role: NetworkRole, play: func(s *stage) error {
			a, err := s.send(http.MethodGet, network+"CreateNetwork", nil)
			if err == nil && refusal(a.status, a.raw) == "" {
				err = fmt.Errorf("it succeeds: %s", a)
			}
			return both(err, s.lives)
		}},
		Case{Name: "garbage/unknown-field", Level: report.Must, Spec: newer, role: NetworkRole, play: func(s *stage) error {
			q := s.network(s.p.Pool4, "")
			return s.makes(q.NetworkID, one("NetworkID", q.NetworkID).put("Options", q.Options).put("IPv4Data", q.IPv4Data).put("IPv6Data", q.IPv6Data).put("Later", one("A", 1)))
		}},
	)
}
