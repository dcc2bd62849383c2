package workload

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// TestStoredPortsComeBack: whatever is bound to whatever port, the record that is
// read says what the one that was written said.
func TestStoredPortsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	hosts := []netip.Addr{{}, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	for range 300 {
		m, exposed := network.PortMap{}, network.PortSet{}
		for range rng.IntN(60) {
			n := 1 + rng.IntN(80)
			port, _ := network.PortFrom(uint16(n), []network.IPProtocol{"tcp", "udp"}[rng.IntN(2)])
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
		r := record{ID: "1", Name: "x", Config: &container.Config{ExposedPorts: exposed}, Host: &container.HostConfig{PortBindings: m}}
		raw, err := r.encode()
		must(t, err)
		back, err := decodeRecord("1", raw)
		must(t, err)
		if len(m) > 0 && !reflect.DeepEqual(back.Host.PortBindings, m) || len(exposed) > 0 && !reflect.DeepEqual(back.Config.ExposedPorts, exposed) {
			t.Fatalf("read %v and %v, want %v and %v", back.Host.PortBindings, back.Config.ExposedPorts, m, exposed)
		}
		if len(r.Host.PortBindings) != len(m) || back.Bound != nil || back.Exposed != nil {
			t.Fatal("the record itself was changed, or keeps the stored form")
		}
	}
}

func TestStoredRangeIsSmall(t *testing.T) {
	m, exposed := network.PortMap{}, network.PortSet{}
	for n := 1; n <= 65535; n++ {
		port, _ := network.PortFrom(uint16(n), "tcp")
		m[port], exposed[port] = []network.PortBinding{{HostPort: fmt.Sprint(n)}}, struct{}{}
	}
	r := record{ID: "1", Name: "x", Config: &container.Config{ExposedPorts: exposed}, Host: &container.HostConfig{PortBindings: m}}
	raw, err := r.encode()
	must(t, err)
	empty, err := json.Marshal(record{Config: &container.Config{}, Host: &container.HostConfig{}})
	must(t, err)
	if len(raw) > len(empty)+500 {
		t.Errorf("65535 ports take %d bytes of a record", len(raw)-len(empty))
	}
}
