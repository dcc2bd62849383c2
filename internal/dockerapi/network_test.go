package dockerapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// compact answers GET path with its JSON and puts ID for every random ID.
func compact(t *testing.T, b *bench, path string) string {
	t.Helper()
	w := b.ask("GET", path, "")
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return strings.TrimSpace(regexp.MustCompile(`"20[^"]*Z"`).ReplaceAllString(w.Body.String(), `"TIME"`))
}

func create(t *testing.T, b *bench, body string) string {
	t.Helper()
	w := b.ask("POST", "/networks/create", body)
	var answer network.CreateResponse
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 201 || len(answer.ID) != 64 {
		t.Fatalf("create %s: %d %s", body, w.Code, w.Body)
	}
	return answer.ID
}

func TestInspectNetworkShape(t *testing.T) {
	b := newBench(t)
	b.run(t, "1", "web", "bridge")
	b.run(t, "2", "lonely", "none")
	e, _ := b.engine.Snapshot().Endpoint(model.EndpointID(id("1")))
	want := `{"Name":"bridge","Id":"` + id("b") + `","Created":"TIME","Scope":"local","Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,` +
		`"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"172.17.0.0/16","Gateway":"172.17.0.1"}]},` +
		`"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Options":{},"Labels":{},` +
		`"Containers":{"` + id("1") + `":{"Name":"web","EndpointID":"` + id("1") + `","MacAddress":"` + e.MAC + `","IPv4Address":"172.17.0.2/16","IPv6Address":""}}}`
	if got := compact(t, b, "/v1.51/networks/bridge"); got != want {
		t.Errorf("inspect:\n%s\nwant:\n%s", got, want)
	}
	status := `,"Status":{"IPAM":{"Subnets":{"172.17.0.0/16":{"IPsInUse":4,"DynamicIPsAvailable":65532}}}}}`
	if got := compact(t, b, "/v1.52/networks/"+id("b")[:5]); got != strings.TrimSuffix(want, "}")+status {
		t.Errorf("with status: %s", got)
	}
	none := compact(t, b, "/networks/none?verbose=1&scope=local")
	if !strings.Contains(none, `"Containers":{"`+id("2")+`":{"Name":"lonely","EndpointID":"`+id("2")+`","MacAddress":"","IPv4Address":"","IPv6Address":""}}`) ||
		!strings.Contains(none, `"Config":null`) || !strings.Contains(none, `"Status":{"IPAM":{}}`) {
		t.Errorf("none: %s", none)
	}
	if got := compact(t, b, "/networks/host"); !strings.Contains(got, `"Containers":{}`) {
		t.Errorf("host: %s", got)
	}
}

func TestInspectNetworkErrors(t *testing.T) {
	b := newBench(t)
	b.want(t, 404, `{"message":"network nobody not found"}`, "GET", "/networks/nobody")
	b.want(t, 404, `network bridge not found`, "GET", "/networks/bridge?scope=swarm")
	b.want(t, 400, `invalid value for verbose: perhaps`, "GET", "/networks/bridge?verbose=perhaps")
	for _, name := range []string{"one", "two"} {
		b.do(t, maker.Create(model.Network{ID: model.NetworkID("abc" + name + id("d")[6:]), Name: name, IPv4: true}))
	}
	b.want(t, 400, "2 matches found based on ID prefix: network abc is ambiguous", "GET", "/networks/abc")
}

func TestListNetworks(t *testing.T) {
	b := newBench(t)
	create(t, b, `{"Name":"full","Labels":{"env":"test","a":"b"}}`)
	create(t, b, `{"Name":"idle","ConfigOnly":true}`)
	create(t, b, `{"Name":"two words"}`)
	b.run(t, "1", "web", "full")
	for _, c := range []struct{ filters, want string }{
		{"", "bridge host none full idle two words"},
		{`{"name":["ful"]}`, "full"},
		{`{"name":{"^f.*l$":true,"^two":true}}`, "full two words"},
		{`{"name":["["]}`, ""},
		{`{"driver":["host","null"]}`, "host none idle"},
		{`{"driver":["brid"]}`, ""},
		{`{"id":["` + id("b")[:20] + `"]}`, "bridge"},
		{`{"type":["builtin"]}`, "bridge host none"},
		{`{"type":["builtin","custom"],"name":["l"]}`, "full idle"},
		{`{"label":["env=test"]}`, "full"},
		{`{"label":["env","a=c"]}`, ""},
		{`{"scope":["local"],"name":["host"]}`, "host"},
		{`{"scope":["swarm"]}`, ""},
		{`{"dangling":["true"]}`, "idle two words"},
		{`{"dangling":["0"]}`, "bridge host none full"},
	} {
		var list []network.Summary
		w := b.ask("GET", "/networks?filters="+url.QueryEscape(c.filters), "")
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", c.filters, w.Code, w.Body)
		}
		var names []string
		for _, n := range list {
			names = append(names, n.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.filters, got, c.want)
		}
	}
	if got := compact(t, b, "/networks/?filters=%7B%22name%22%3A%5B%22nothing%22%5D%7D"); got != "[]" {
		t.Errorf("an empty list: %s", got)
	}
	if now, then := compact(t, b, "/v1.28/networks"), compact(t, b, "/v1.27/networks"); strings.Contains(now, "Containers") || !strings.Contains(then, `"Containers":{"`+id("1")) {
		t.Errorf("containers in lists: 1.28 %s\n1.27 %s", now, then)
	}
}

func TestListNetworksRefusals(t *testing.T) {
	b := newBench(t)
	for filters, message := range map[string]string{
		`{"odd":["1"]}`:                    `invalid filter 'odd'`,
		`{"type":["x"]}`:                   `invalid filter: 'type'='x'`,
		`{"dangling":["true","false"]}`:    `got more than one value for filter key \"dangling\"`,
		`{"dangling":["perhaps"]}`:         `invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")`,
		`nonsense`:                         `{"message":"invalid filter"}`,
		`{"name":"x"}`:                     `{"message":"invalid filter"}`,
		`{"name":["x"],"label":{"a":"b"}}`: `{"message":"invalid filter"}`,
	} {
		b.want(t, 400, message, "GET", "/networks?filters="+url.QueryEscape(filters))
	}
}

func TestCreateNetwork(t *testing.T) {
	b := newBench(t)
	create(t, b, `{"Name":"full","Driver":"bridge","Attachable":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":{},"Config":[
		{"Subnet":"10.9.0.0/24","IPRange":"10.9.0.64/28","Gateway":"10.9.0.254","AuxiliaryAddresses":{"r1":"10.9.0.65"}}]},
		"Options":{"com.docker.network.bridge.name":"br-nine"},"Labels":{"a":"b"}}`)
	got := compact(t, b, "/networks/full")
	for _, part := range []string{
		`"Config":[{"Subnet":"10.9.0.0/24","IPRange":"10.9.0.64/28","Gateway":"10.9.0.254","AuxiliaryAddresses":{"r1":"10.9.0.65"}}]`,
		`"Options":{"com.docker.network.bridge.name":"br-nine"},"Labels":{"a":"b"}`, `"Attachable":true`, `"EnableIPv4":true,"EnableIPv6":false`,
		`"Containers":{}`, `"IPsInUse":4,"DynamicIPsAvailable":15`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%s\nlacks %s", got, part)
		}
	}
	create(t, b, `{"Name":"template","ConfigOnly":true,"IPAM":{"Config":[{"Subnet":"10.30.0.0/24"}]}}`)
	create(t, b, `{"Name":"made","ConfigFrom":{"Network":"template"}}`)
	if got := compact(t, b, "/networks/made"); !strings.Contains(got, `"Subnet":"10.30.0.0/24"`) || !strings.Contains(got, `"ConfigFrom":{"Network":"template"}`) {
		t.Errorf("made: %s", got)
	}
	for body, answer := range map[string]string{
		`{"Name":"full"}`:                                             `409 network with name full already exists`,
		`{"Name":"bridge"}`:                                           `403 operation is not permitted on predefined bridge network `,
		`{"Name":""}`:                                                 `400 invalid name: name is empty`,
		`{"Name":"x","Driver":"nonsense"}`:                            `404 plugin \"nonsense\" not found`,
		`{"Name":"x","Driver":"host"}`:                                `403 only one instance of \"host\" network is allowed`,
		`{"Name":"x","Scope":"swarm"}`:                                `403 cannot create a swarm scoped network when swarm is not active`,
		`{"Name":"x","Ingress":true}`:                                 `403 Ingress network can only be global scope network`,
		`{"Name":"x","EnableIPv4":false}`:                             `400 IPv4 or IPv6 must be enabled`,
		`{"Name":"x","IPAM":{"Config":[{"Subnet":"10.8.0.5/24"}]}}`:   `400 invalid network config:\ninvalid subnet 10.8.0.5/24: it should be 10.8.0.0/24`,
		`{"Name":"x","IPAM":{"Config":[{"Subnet":"10.9.0.128/25"}]}}`: `403 invalid pool request: Pool overlaps with other one on this address space`,
	} {
		var status int
		fmt.Sscan(answer, &status)
		b.want(t, status, answer[4:], "POST", "/networks/create", body)
	}
	b.want(t, 201, "", "POST", "/v1.47/networks/create", `{"Name":"old","EnableIPv4":false}`)
}

func TestNetworkEvents(t *testing.T) {
	b := newBench(t)
	n := create(t, b, `{"Name":"told"}`)
	create(t, b, `{"Name":"template","ConfigOnly":true}`)
	b.want(t, 204, "", "DELETE", "/networks/told")
	b.want(t, 204, "", "DELETE", "/networks/template")
	var got []string
	for _, e := range b.published {
		got = append(got, fmt.Sprint(e.Type, " ", e.Action, " ", e.Actor.Attributes))
	}
	want := "network create map[name:told type:bridge]; network create map[name:template type:null]; network destroy map[name:told type:bridge]"
	if strings.Join(got, "; ") != want || b.published[0].Actor.ID != n {
		t.Errorf("%q, want %s", got, want)
	}
}

func TestRemoveNetwork(t *testing.T) {
	b := newBench(t)
	create(t, b, `{"Name":"full"}`)
	create(t, b, `{"Name":"two words"}`)
	b.run(t, "1", "c1", "full")
	b.want(t, 403, `bridge is a pre-defined network and cannot be removed`, "DELETE", "/networks/bridge")
	b.want(t, 403, `error while removing network: network full has active endpoints (name:\"c1\" id:\"111111111111\")`, "DELETE", "/networks/full")
	b.want(t, 404, `network nobody not found`, "DELETE", "/networks/nobody")
	b.want(t, 204, ``, "DELETE", "/networks/two%20words")
	b.want(t, 404, `network two words not found`, "DELETE", "/networks/two%20words")
}

func TestPruneNetworks(t *testing.T) {
	b := newBench(t)
	for _, body := range []string{`{"Name":"full"}`, `{"Name":"any"}`, `{"Name":"kept","Labels":{"keep":"yes"}}`, `{"Name":"template","ConfigOnly":true}`} {
		create(t, b, body)
	}
	b.run(t, "1", "web", "full")
	prune := func(filters string) string { return "/networks/prune?filters=" + url.QueryEscape(filters) }
	b.want(t, 400, `invalid filter 'name'`, "POST", prune(`{"name":["x"]}`))
	b.want(t, 400, `more than one until filter specified`, "POST", prune(`{"until":["1h","2h"]}`))
	b.want(t, 400, `failed to parse value as time or duration: invalid seconds \"soon\": invalid syntax`, "POST", prune(`{"until":["soon"]}`))
	b.want(t, 200, `{"NetworksDeleted":null}`, "POST", prune(`{"until":["1h"]}`))
	b.want(t, 200, `{"NetworksDeleted":["any"]}`, "POST", prune(`{"label!":["keep=yes"]}`))
	b.want(t, 200, `{"NetworksDeleted":["kept"]}`, "POST", prune(`{"label":["keep"]}`))
	last := b.published[len(b.published)-1]
	if last.Action != events.ActionPrune || last.Actor.Attributes["reclaimed"] != "0" {
		t.Errorf("event: %+v", last)
	}
	b.do(t, ops.StopSandbox(model.SandboxID(id("1"))))
	b.want(t, 200, `{"NetworksDeleted":["full"]}`, "POST", "/networks/prune")
}

func TestPruneNetworksIsAloneAtATime(t *testing.T) {
	b := newBench(t)
	create(t, b, `{"Name":"any"}`)
	b.engine.hold, b.engine.held = make(chan struct{}), make(chan struct{})
	first := make(chan int)
	go func() { first <- b.ask("POST", "/networks/prune", "").Code }()
	<-b.engine.held
	b.want(t, 409, "a prune operation is already running", "POST", "/networks/prune")
	close(b.engine.hold)
	if code := <-first; code != 200 {
		t.Errorf("the first: %d", code)
	}
}

func TestConnect(t *testing.T) {
	b := newBench(t)
	body := `{"Container":"c1","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.9.0.9"},"MacAddress":"02:42:ac:11:00:09","Aliases":["x"],"GwPriority":-1,"Gateway":"","IPAddress":""}}`
	b.want(t, 200, "", "POST", "/networks/full/connect", body)
	if e := b.connect; e.IPAMConfig.IPv4Address.String() != "10.9.0.9" || e.MacAddress.String() != "02:42:ac:11:00:09" || e.GwPriority != -1 || e.Aliases[0] != "x" {
		t.Errorf("passed on: %+v", e)
	}
	b.want(t, 200, "", "POST", "/v1.53/networks/full/connect", body)
	if len(b.connect.MacAddress) != 0 {
		t.Errorf("1.53 took the MAC address: %s", b.connect.MacAddress)
	}
	b.want(t, 200, "", "POST", "/networks/two%20words/disconnect", `{"Container":"c1","Force":true}`)
	b.want(t, 400, "invalid JSON", "POST", "/networks/full/connect", `{"Container":"c1","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.9.0"}}}`)
	if got, want := b.noted(), "connect c1 to full; connect c1 to full; disconnect c1 from two words true"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSubnetStatusOfIPv6(t *testing.T) {
	b := newBench(t)
	create(t, b, `{"Name":"six","EnableIPv4":false,"EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd00::/64","Gateway":"fd00::1"}]}}`)
	create(t, b, `{"Name":"small","EnableIPv4":false,"EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd01::/120","Gateway":"fd01::1"}]}}`)
	create(t, b, `{"Name":"pair","IPAM":{"Config":[{"Subnet":"10.1.1.0/31","Gateway":"10.1.1.0"}]}}`)
	for name, want := range map[string]string{
		"six":   `"fd00::/64":{"IPsInUse":2,"DynamicIPsAvailable":18446744073709551615}`,
		"small": `"fd01::/120":{"IPsInUse":2,"DynamicIPsAvailable":254}`,
		"pair":  `"10.1.1.0/31":{"IPsInUse":1,"DynamicIPsAvailable":1}`,
	} {
		if got := compact(t, b, "/networks/"+name); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
