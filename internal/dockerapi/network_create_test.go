package dockerapi

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestCreateNetworkOptions: what options make of a network, as inspect shows it.
func TestCreateNetworkOptions(t *testing.T) {
	b := newBench(t)
	b.engine.facts.Host.UniqueLocal = netip.MustParsePrefix("fd00:1::/48")
	for i, c := range []struct {
		about, version, body, want string
	}{
		{"no IPAM at all", "", ``, `"IPAM":{"Driver":"default","Options":null,"Config":[{`},
		{"IPAM options as given", "", `"IPAM":{"Options":{"a":"b"}}`, `"Options":{"a":"b"},"Config":[{`},
		{"an entry that says nothing", "", `"IPAM":{"Options":{},"Config":[{}]}`, `"Options":{},"Config":[{"Subnet":"172.`},
		{"any subnet of any size", "", `"IPAM":{"Config":[{"Subnet":"0.0.0.0/0"}]}`, `"Config":[{"Subnet":"172.`},
		{"an IPv4 subnet in IPv6's clothes", "", `"IPAM":{"Config":[{"Subnet":"::ffff:10.77.0.0/120","Gateway":"::ffff:10.77.0.9"}]}`, `"Config":[{"Subnet":"10.77.0.0/24","Gateway":"10.77.0.9"}]`},
		{"an IPv6 subnet without IPv6 is not looked at", "", `"IPAM":{"Config":[{"Subnet":"fd01::5/64"}]}`, `"Config":[{"Subnet":"172.`},
		{"IPv6 by an option", "", `"Options":{"com.docker.network.enable_ipv6":"1"}`, `"EnableIPv4":true,"EnableIPv6":true`},
		{"IPv4 by an option", "", `"EnableIPv6":true,"Options":{"com.docker.network.enable_ipv4":"false"}`, `"EnableIPv4":false,"EnableIPv6":true`},
		{"a switch beats the option, which goes", "", `"EnableIPv6":false,"Options":{"com.docker.network.enable_ipv6":"true"}`, `"ConfigOnly":false,"Options":{}`},
		{"a switch that this version does not know does not", "/v1.47", `"EnableIPv4":true,"EnableIPv6":true,"Options":{"com.docker.network.enable_ipv4":"false"}`, `"EnableIPv4":false`},
		{"nobody is at an isolated network's gateway", "", `"Internal":true,"Options":{"com.docker.network.bridge.gateway_mode_ipv4":"isolated"},"IPAM":{"Config":[{"Subnet":"10.70.0.0/24"}]}`, `"Config":[{"Subnet":"10.70.0.0/24"}]`},
		{"nor where the bridge has no address and nothing leads out", "", `"Internal":true,"Options":{"com.docker.network.bridge.inhibit_ipv4":"true"},"IPAM":{"Config":[{"Subnet":"10.71.0.0/24"}]}`, `"Config":[{"Subnet":"10.71.0.0/24"}]`},
		{"but a way out has a gateway", "", `"Options":{"com.docker.network.bridge.inhibit_ipv4":"true"},"IPAM":{"Config":[{"Subnet":"10.72.0.0/24"}]}`, `"Config":[{"Subnet":"10.72.0.0/24","Gateway":"10.72.0.1"}]`},
		{"the link's own subnet", "", `"EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fe80::/64"}]}`, `{"Subnet":"fe80::/64","Gateway":"fe80::1"}`},
	} {
		name := fmt.Sprint("n", i)
		b.want(t, 201, "", "POST", c.version+"/networks/create", strings.TrimSuffix(`{"Name":"`+name+`",`+c.body, ",")+"}")
		if got := compact(t, b, "/networks/"+name); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s\nlacks %s", c.about, got, c.want)
		}
	}
}

// TestCreateNetworkRefusals: the status and the words of what cannot be.
func TestCreateNetworkRefusals(t *testing.T) {
	b := newBench(t)
	create(t, b, `{"Name":"template","ConfigOnly":true,"Labels":{"from":"template"},"Options":{"com.docker.network.driver.mtu":"1400"}}`)
	create(t, b, `{"Name":"made","ConfigFrom":{"Network":"template"}}`)
	if got := compact(t, b, "/networks/made"); !strings.Contains(got, `"Labels":{"from":"template"}`) {
		t.Errorf("a template's labels: %s", got)
	}
	const own = `403 user-specified configurations are not supported if the network depends on a configuration network`
	const only = `403 configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.`
	for body, answer := range map[string]string{
		`"ConfigFrom":{"Network":"template"},"Labels":{"a":"b"}`:            own,
		`"ConfigFrom":{"Network":"template"},"EnableIPv6":true`:             own,
		`"ConfigFrom":{"Network":"template"},"EnableIPv4":false`:            own,
		`"ConfigFrom":{"Network":"template"},"IPAM":{"Options":{"a":"b"}}`:  own,
		`"ConfigFrom":{"Network":"template"},"IPAM":{"Driver":"null"}`:      own,
		`"ConfigFrom":{"Network":"template"},"Options":{"a":"b"}`:           `403 network driver options are not supported`,
		`"ConfigFrom":{"Network":"template"},"ConfigOnly":true`:             `403 a configuration network cannot depend on another configuration network`,
		`"ConfigOnly":true,"Scope":"local"`:                                 only,
		`"ConfigOnly":true,"Ingress":true`:                                  only,
		`"ConfigOnly":true,"Internal":true`:                                 only,
		`"Scope":"global"`:                                                  `403 cannot create a swarm scoped network when swarm is not active`,
		`"Driver":"overlay","Ingress":true`:                                 `403 This node is not a swarm manager.`,
		`"Driver":"weave"`:                                                  `404 plugin \"weave\" not found`,
		`"IPAM":{"Driver":"lease"}`:                                         `404 plugin \"lease\" not found`,
		`"IPAM":{"Driver":"null"}`:                                          `400 ipv4 pool is empty`,
		`"IPAM":{"Config":[{"Subnet":"127.0.0.0/16"}]}`:                     `400 invalid network config:\ninvalid subnet 127.0.0.0/16: no host can have an address of 127.0.0.0/8`,
		`"IPAM":{"Config":[{"Subnet":"10.8.0.0/24","Gateway":"10.8.0.0"}]}`: `500 failed to allocate gateway (10.8.0.0): Address already in use\n`,
		`"IPAM":{"Config":[{"Subnet":"0.0.0.0/24","Gateway":"0.0.0.7"}]}`:   `500 failed to allocate gateway (0.0.0.7): requested address is out of range`,
		`"IPAM":{"Config":[{"Subnet":"10.8.0.0/24","Gateway":"10.8.0.9","AuxiliaryAddresses":{"a":"10.8.0.9"}}]}`: `500 failed to allocate secondary ip address (a:10.8.0.9): Address already in use`,
		`"IPAM":{"Config":[{"Subnet":"10.8.0.0/24","AuxiliaryAddresses":{"a":"10.8.0.9","b":"10.8.0.9"}}]}`:       `500 failed to allocate secondary ip address (b:10.8.0.9): Address already in use`,
		`"IPAM":{"Config":[{"Subnet":"0.0.0.0/24","AuxiliaryAddresses":{"a":"0.0.0.9"}}]}`:                        `403 auxiliary address: (a:0.0.0.9) must belong to the master pool: 172.`,
		`"Options":{"com.docker.network.enable_ipv4":"banana"}`:                                                   `400 driver-opt \"com.docker.network.enable_ipv4\" is not a valid bool`,
		`"Options":{"com.docker.network.enable_ipv4":"0"}`:                                                        `400 IPv4 or IPv6 must be enabled`,
		`"Options":{"com.docker.network.advertise_addr_nmsgs":"x"}`:                                               `400 value for option com.docker.network.advertise_addr_nmsgs \"x\" must be an integer`,
		`"Options":{"com.docker.network.advertise_addr_nmsgs":"4"}`:                                               `400 com.docker.network.advertise_addr_nmsgs must be in the range 0 to 3`,
		`"Options":{"com.docker.network.advertise_addr_ms":"99"}`:                                                 `400 com.docker.network.advertise_addr_ms must be in the range 100 to 2000`,
		`"Options":{"com.docker.network.host_ipv4":"nonsense"}`:                                                   `400 failed to parse com.docker.network.host_ipv4 value: nonsense (nil ip)`,
		`"Options":{"com.docker.network.host_ipv6":"192.0.2.1"}`:                                                  `400 failed to parse com.docker.network.host_ipv6 value: 192.0.2.1 (not an IPv6 address that a host can have)`,
		`"Options":{"com.docker.network.host_ipv4":"127.0.0.1"}`:                                                  `400 failed to parse com.docker.network.host_ipv4 value: 127.0.0.1 (not an IPv4 address that a host can have)`,
		`"Options":{"com.docker.network.driver.mtu":"70000"}`:                                                     `400 invalid MTU number: 70000`,
		`"EnableIPv6":true,"Options":{"com.docker.network.driver.mtu":"1279"}`:                                    `400 invalid MTU number: 1279`,
		`"Options":{"com.docker.network.bridge.name":"br%d"}`:                                                     `400 invalid bridge name`,
		`"Options":{"com.docker.network.bridge.default_bridge":"perhaps"}`:                                        `400 failed to parse com.docker.network.bridge.default_bridge value: perhaps`,
		`"Options":{"com.docker.network.container_iface_prefix":"a/b"}`:                                           `400 failed to parse com.docker.network.container_iface_prefix value: a/b`,
		`"Options":{"com.docker.network.bridge.host_binding_ipv4":"here"}`:                                        `400 failed to parse com.docker.network.bridge.host_binding_ipv4 value: here (nil ip)`,
	} {
		var status int
		fmt.Sscan(answer, &status)
		b.want(t, status, answer[4:], "POST", "/networks/create", `{"Name":"x",`+body+`}`)
	}
	b.want(t, 403, `network name \"container\" is reserved and cannot be created`, "POST", "/networks/create", `{"Name":"container"}`)
	b.want(t, 403, `network name \"container:web\" is reserved and cannot be created`, "POST", "/networks/create", `{"Name":"container:web"}`)
	if got := compact(t, b, "/networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%7D"); strings.Count(got, `"Name"`) != 2 {
		t.Errorf("a refused network was made: %s", got)
	}
}
