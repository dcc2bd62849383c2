package containerrecord

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
)

// again returns what is read of a record that was written.
func again(t *testing.T, r Record) Record {
	t.Helper()
	raw, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(r.ID, raw)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// TestStoredPortsComeBack: whatever is bound to whatever port, the record that is
// read says what the one that was written said.
func TestStoredPortsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	hosts := []netip.Addr{{}, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	for range 300 {
		m, exposed := network.PortMap{}, network.PortSet{}
		for range rng.IntN(60) {
			n := 1 + rng.IntN(80)
			port, _ := network.PortFrom(uint16(n), []network.IPProtocol{"tcp", "udp", ""}[rng.IntN(3)]) // "" makes the port that is none
			exposed[port] = struct{}{}
			switch rng.IntN(10) {
			case 0:
				m[port] = nil
			case 1:
				m[port] = []network.PortBinding{}
			case 2:
				m[port] = []network.PortBinding{{HostIP: hosts[rng.IntN(3)]}, {HostPort: "8000-8010"}}
			case 3:
				m[port] = []network.PortBinding{{HostPort: fmt.Sprintf("0%d", 8000+n)}}
			default:
				m[port] = []network.PortBinding{{HostIP: hosts[rng.IntN(2)], HostPort: fmt.Sprint(8000 + n)}}
			}
		}
		r := Record{ID: "1", Name: "x", Config: &container.Config{ExposedPorts: exposed}, Host: &container.HostConfig{PortBindings: m}}
		back := again(t, r)
		if !reflect.DeepEqual(back.Host.PortBindings, m) || !reflect.DeepEqual(back.Config.ExposedPorts, exposed) {
			t.Fatalf("read %v and %v, want %v and %v", back.Host.PortBindings, back.Config.ExposedPorts, m, exposed)
		}
		if len(r.Host.PortBindings) != len(m) {
			t.Fatal("the record itself was changed")
		}
	}
}

func TestStoredRangeIsSmall(t *testing.T) {
	m, exposed := network.PortMap{}, network.PortSet{}
	for n := 1; n <= 65535; n++ {
		port, _ := network.PortFrom(uint16(n), "tcp")
		m[port], exposed[port] = []network.PortBinding{{HostPort: fmt.Sprint(n)}}, struct{}{}
	}
	r := Record{ID: "1", Name: "x", Config: &container.Config{ExposedPorts: exposed}, Host: &container.HostConfig{PortBindings: m}}
	raw, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 500 {
		t.Errorf("65535 ports take %d bytes: %s", len(raw), raw)
	}
}

func TestPortsOutOfOrderAreRefused(t *testing.T) {
	for _, runs := range []string{
		`[{"First":2,"Last":1,"Protocol":"tcp"}]`,
		`[{"First":1,"Last":5,"Protocol":"tcp"},{"First":5,"Last":6,"Protocol":"tcp"}]`,
		`[{"First":1,"Last":5,"Protocol":"udp"},{"First":7,"Last":9,"Protocol":"tcp"}]`,
	} {
		for _, field := range []string{"Bound", "Exposed"} {
			raw := fmt.Sprintf(`{"Version":3,"ID":"1","Name":"x","Config":{},"Host":{},"%s":%s}`, field, runs)
			if _, err := Decode(model.ContainerID("1"), []byte(raw)); err == nil {
				t.Errorf("%s was read", raw)
			}
		}
	}
}
