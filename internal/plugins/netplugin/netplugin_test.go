package netplugin

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins"
)

// canned is a plugin that answers everything with the same bytes, and notes what it was
// asked.
type canned struct {
	answer string
	method string
	sent   string
	undone []string
}

func (c *canned) Call(_ context.Context, method string, in, out any) error {
	if c.method != "" {
		c.undone = append(c.undone, method)
		return nil
	}
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	c.method, c.sent = method, string(raw)
	return json.Unmarshal([]byte(c.answer), out)
}

var at = EndpointAt{"n1", "e1"}

// TestCalls holds every call to what Docker's plugins get and give.
func TestCalls(t *testing.T) {
	ctx := context.Background()
	p := netip.MustParsePrefix
	for name, c := range map[string]struct {
		answer, method, sent string
		call                 func(c *canned) error
		want                 string
	}{
		"capabilities": {`{"Scope": "global"}`, "NetworkDriver.GetCapabilities", `null`, func(c *canned) error {
			got, err := Driver{c}.Capabilities(ctx)
			return expect(t, got, Capabilities{Scope: "global", ConnectivityScope: "global"}, err)
		}, ""},
		"no scope": {`{"Scope": "galaxy"}`, "NetworkDriver.GetCapabilities", `null`, func(c *canned) error {
			_, err := Driver{c}.Capabilities(ctx)
			return err
		}, "invalid capability: expecting 'local' or 'global', got galaxy"},
		"network": {`{}`, "NetworkDriver.CreateNetwork", `{"NetworkID":"n1","Options":null,"IPv4Data":[{"AddressSpace":"l","Pool":"10.0.0.0/8"}],"IPv6Data":null}`, func(c *canned) error {
			return Driver{c}.CreateNetwork(ctx, NewNetwork{NetworkID: "n1", IPv4Data: []PoolData{{AddressSpace: "l", Pool: "10.0.0.0/8"}}})
		}, ""},
		"refused": {`{"Err": "no network today"}`, "NetworkDriver.DeleteNetwork", `{"NetworkID":"n1"}`, func(c *canned) error {
			return Driver{c}.DeleteNetwork(ctx, "n1")
		}, "remote: no network today"},
		"allocate": {`{"Options": {"a": "b"}}`, "NetworkDriver.AllocateNetwork", `{"NetworkID":"n1","Options":null,"IPv4Data":null,"IPv6Data":null}`, func(c *canned) error {
			got, err := Driver{c}.AllocateNetwork(ctx, "n1", nil, nil, nil)
			return expect(t, got["a"], "b", err)
		}, ""},
		"free": {`{}`, "NetworkDriver.FreeNetwork", `{"NetworkID":"n1"}`, func(c *canned) error { return Driver{c}.FreeNetwork(ctx, "n1") }, ""},
		"endpoint": {`{"Interface": {"MacAddress": "02:99:0A:00:00:01", "AddressIPv6": "fd00::5/64"}}`, "NetworkDriver.CreateEndpoint",
			`{"NetworkID":"n1","EndpointID":"e1","Interface":{"Address":"10.0.0.5/8","AddressIPv6":"","MacAddress":""},"Options":{"speed":"fast"}}`, func(c *canned) error {
				got, err := Driver{c}.CreateEndpoint(ctx, at, Interface{Addr4: p("10.0.0.5/8")}, Options{"speed": json.RawMessage(`"fast"`)})
				return expect(t, got, Interface{p("10.0.0.5/8"), p("fd00::5/64"), "02:99:0a:00:00:01"}, err)
			}, ""},
		"an address that it has": {`{"Interface": {"Address": "10.0.0.6/8"}}`, "NetworkDriver.CreateEndpoint", "", func(c *canned) error {
			_, err := Driver{c}.CreateEndpoint(ctx, at, Interface{Addr4: p("10.0.0.5/8")}, nil)
			return err
		}, "driver modified interface address: endpoint interface IP present (10.0.0.5/8). Cannot be modified with (10.0.0.6/8).; rolled back"},
		"join": {`{"InterfaceName": {"SrcName": "rc1", "DstPrefix": "eth"}, "Gateway": "10.0.0.1", "StaticRoutes": [{"Destination": "192.0.2.7/24", "RouteType": 1}, {"Destination": "198.51.100.0/24", "RouteType": 0, "NextHop": "10.0.0.9"}], "DisableGatewayService": true}`,
			"NetworkDriver.Join", `{"NetworkID":"n1","EndpointID":"e1","SandboxKey":"/run/netns/x","Options":null}`, func(c *canned) error {
				got, err := Driver{c}.Join(ctx, at, "/run/netns/x", nil)
				return expect(t, text(got), text(Join{"rc1", "eth", netip.MustParseAddr("10.0.0.1"), netip.Addr{},
					[]facts.Route{{Destination: p("192.0.2.0/24")}, {Destination: p("198.51.100.0/24"), Via: netip.MustParseAddr("10.0.0.9")}}, true}), err)
			}, ""},
		"no gateway's address": {`{"Gateway": "fd00::1"}`, "NetworkDriver.Join", "", func(c *canned) error {
			_, err := Driver{c}.Join(ctx, at, "", nil)
			return err
		}, `unable to parse Gateway "fd00::1"; rolled back`},
		"discovered": {`{}`, "NetworkDriver.DiscoverNew", `{"DiscoveryType":1,"DiscoveryData":{"Address":"192.0.2.1","BindAddress":"","Self":true}}`, func(c *canned) error {
			return Driver{c}.Discovered(ctx, Node{Address: "192.0.2.1", Self: true}, false)
		}, ""},
		"gone": {`{}`, "NetworkDriver.DiscoverDelete", "", func(c *canned) error { return Driver{c}.Discovered(ctx, Node{}, true) }, ""},
		"pool": {`{"PoolID": "p1", "Pool": "10.1.2.3/24", "Data": {"com.docker.network.gateway": "10.1.2.254/24"}}`, "IpamDriver.RequestPool",
			`{"AddressSpace":"l","Pool":"","SubPool":"","Options":{"floor":"3"},"V6":false}`, func(c *canned) error {
				got, err := IPAM{c}.RequestPool(ctx, PoolRequest{AddressSpace: "l", Options: map[string]string{"floor": "3"}})
				return expect(t, got, Pool{"p1", p("10.1.2.0/24"), p("10.1.2.254/24")}, err)
			}, ""},
		"a pool of the other family": {`{"PoolID": "p1", "Pool": "fd00::/64"}`, "IpamDriver.RequestPool", "", func(c *canned) error {
			_, err := IPAM{c}.RequestPool(ctx, PoolRequest{})
			return err
		}, "it is of the other address family"},
		"address": {`{"Address": "10.1.2.7/24"}`, "IpamDriver.RequestAddress", `{"PoolID":"p1","Address":"10.1.2.7","Options":{"RequestAddressType":"com.docker.network.gateway"}}`, func(c *canned) error {
			got, err := IPAM{c}.RequestAddress(ctx, "p1", netip.MustParseAddr("10.1.2.7"), map[string]string{OptionAddressType: OptionGateway})
			return expect(t, got, p("10.1.2.7/24"), err)
		}, ""},
		"no address": {`{}`, "IpamDriver.RequestAddress", "", func(c *canned) error {
			_, err := IPAM{c}.RequestAddress(ctx, "p1", netip.Addr{}, nil)
			return err
		}, "no address returned"},
		"full": {`{"Error": "full, sorry"}`, "IpamDriver.ReleaseAddress", "", func(c *canned) error {
			return IPAM{c}.ReleaseAddress(ctx, "p1", netip.Addr{})
		}, "remote: full, sorry"},
	} {
		t.Run(name, func(t *testing.T) {
			plugin := &canned{answer: c.answer}
			err := c.call(plugin)
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || model.KindOf(err) != model.Unfit) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if plugin.method != c.method || c.sent != "" && plugin.sent != c.sent {
				t.Errorf("%s %s, want %s %s", plugin.method, plugin.sent, c.method, c.sent)
			}
			if rolled := strings.Contains(c.want, "rolled back"); rolled != (len(plugin.undone) == 1) && !strings.Contains(name, "pool") {
				t.Errorf("taken back by %q", plugin.undone)
			}
		})
	}
}

func text(v any) string {
	raw, _ := json.Marshal(v)
	return string(raw)
}

func expect[T comparable](t *testing.T, got, want T, err error) error {
	t.Helper()
	if err == nil && got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	return err
}

func TestTold(t *testing.T) {
	refused := model.Errorf(model.Unfit, "%w", &Refusal{"no"})
	for _, c := range []struct {
		err           error
		refused, told bool
	}{
		{nil, false, true}, {refused, true, true}, {&plugins.StatusError{Status: 404}, true, true}, {&plugins.GarbledError{}, false, true},
		{&plugins.UnreachableError{Err: context.Canceled}, false, false}, {context.DeadlineExceeded, false, false},
	} {
		if Refused(c.err) != c.refused || Told(c.err) != c.told {
			t.Errorf("%v: refused %t, told %t", c.err, Refused(c.err), Told(c.err))
		}
	}
}

// FuzzAnswers: whatever a plugin answers, what is taken of it is an address, a route, a
// subnet.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"Interface": {"Address": "10.0.0.1/8", "MacAddress": "02:00:00:00:00:01"}}`, `{"Gateway": "::1", "StaticRoutes": [{"Destination": "0.0.0.0/0", "NextHop": "x"}]}`,
		`{"PoolID": "x", "Pool": "10.0.0.0/8", "Data": {"com.docker.network.gateway": "1"}}`, `{"Address": "1.2.3.4/33"}`, `{"Err": "x", "Error": "y"}`, `null`, `{"Interface": null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		ctx := context.Background()
		if i, err := (Driver{&canned{answer: answer}}).CreateEndpoint(ctx, at, Interface{}, nil); err == nil {
			if i.Addr4.IsValid() && !i.Addr4.Addr().Is4() || i.Addr6.IsValid() && !i.Addr6.Addr().Is6() {
				t.Errorf("%+v", i)
			}
		}
		if j, err := (Driver{&canned{answer: answer}}).Join(ctx, at, "", nil); err == nil {
			for _, r := range j.Routes {
				if !r.Destination.IsValid() || r.Via.IsValid() && r.Via.Is4() != r.Destination.Addr().Is4() {
					t.Errorf("%+v", r)
				}
			}
		}
		for _, six := range []bool{false, true} {
			if p, err := (IPAM{&canned{answer: answer}}).RequestPool(ctx, PoolRequest{V6: six}); err == nil && (!p.Subnet.IsValid() || p.Subnet.Addr().Is6() != six) {
				t.Errorf("%+v", p)
			}
		}
		if a, err := (IPAM{&canned{answer: answer}}).RequestAddress(ctx, "", netip.Addr{}, nil); err == nil && !a.IsValid() {
			t.Error("no address is taken for one")
		}
		_, _ = Driver{&canned{answer: answer}}.Capabilities(ctx)
		_, _ = IPAM{&canned{answer: answer}}.Capabilities(ctx)
	})
}
