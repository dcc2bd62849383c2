package driver

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

func TestShapeOf(t *testing.T) {
	for _, c := range []struct {
		network, endpoint map[string]string
		want              desired.Traffic
	}{
		{nil, nil, desired.Traffic{}},
		{map[string]string{OptionRate: "10mbit"}, nil, desired.Traffic{Rate: 10_000_000}},
		{map[string]string{OptionRate: "10mbit", OptionDelay: "50ms"}, map[string]string{OptionRate: "1.5Gbit"}, desired.Traffic{Rate: 1_500_000_000, Delay: 50 * time.Millisecond}},
		{map[string]string{OptionRate: "10mbit", OptionLoss: "1%"}, map[string]string{OptionRate: "none", OptionLoss: "none"}, desired.Traffic{}},
		{nil, map[string]string{OptionRate: "8000bit", OptionDelay: "1us", OptionLoss: "0.0001%"}, desired.Traffic{Rate: 8000, Delay: time.Microsecond, Loss: 1}},
		{nil, map[string]string{OptionRate: "1000gbit", OptionDelay: "1m", OptionLoss: "100%"}, desired.Traffic{Rate: 1e12, Delay: time.Minute, Loss: 1e6}},
		{nil, map[string]string{OptionRate: "64kbit"}, desired.Traffic{Rate: 64_000}},
	} {
		if got, err := ShapeOf(c.network, c.endpoint); err != nil || got != c.want {
			t.Errorf("%v, %v: %+v, %v; want %+v", c.network, c.endpoint, got, err, c.want)
		}
	}
	for key, bad := range map[string][]string{
		OptionRate:  {"", "10", "10m", "10mbps", "-1mbit", "1e9bit", "7999bit", "1001gbit", "mbit", "0bit", "NaNbit", "Infgbit", "1..5mbit", strings.Repeat("1", 400) + "bit"},
		OptionDelay: {"", "50", "1h", "0s", "-5ms", "1ns", "fast"},
		OptionLoss:  {"", "1", "0%", "101%", "-1%", "0.00001%", "one%", "NaN%", "%"},
	} {
		for _, text := range bad {
			if got, err := ShapeOf(nil, map[string]string{key: text}); model.KindOf(err) != model.Invalid || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), `or "none"`) {
				t.Errorf("%s=%s: %+v, %v", key, text, got, err)
			}
		}
	}
}

func TestShapes(t *testing.T) {
	traffic := desired.Traffic{Rate: 10_000_000}
	rows := []desired.Row{
		desired.Addr{Link: "eth0"},
		desired.Link{Name: "veth1", MTU: 9000, Peer: &desired.Peer{Namespace: "c1", Name: "eth0"}},
		desired.Link{Namespace: "c1", Name: "eth1", Type: desired.LinkMacvlan},
	}
	want := []desired.Row{
		desired.Shape{Link: "veth1", Traffic: traffic, Burst: 18036},
		desired.Shape{Namespace: "c1", Link: "eth0", Traffic: traffic, Burst: 18036},
		desired.Shape{Namespace: "c1", Link: "eth1", Traffic: traffic, Burst: 12500},
	}
	if got := Shapes(traffic, rows); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if got := Shapes(desired.Traffic{}, rows); got != nil {
		t.Errorf("nothing is asked for: %v", got)
	}
	if got := want[0].String(); got != "shape host veth1 rate 10000000 bit/s burst 18036" {
		t.Error(got)
	}
}

func FuzzShapeOf(f *testing.F) {
	f.Add("10mbit", "50ms", "0.5%")
	f.Fuzz(func(t *testing.T, rate, delay, loss string) {
		got, err := ShapeOf(nil, map[string]string{OptionRate: rate, OptionDelay: delay, OptionLoss: loss})
		if err == nil && (got.Rate > maxRate || got.Rate != 0 && got.Rate < minRate || got.Delay < 0 || got.Delay > maxDelay || got.Loss > million) {
			t.Errorf("%q %q %q: %+v", rate, delay, loss, got)
		}
	})
}
