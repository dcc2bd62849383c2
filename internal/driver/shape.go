package driver

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Options by which traffic is slowed down or lost, of a network for each of its endpoints, and
// of a membership for itself. Each holds for both directions by itself: packets to a
// container and packets from it. "none" of a membership stands over its network's.
const (
	OptionRate  = "com.linkspan.rate"  // "10mbit"
	OptionDelay = "com.linkspan.delay" // "50ms"
	OptionLoss  = "com.linkspan.loss"  // "0.5%"
)

// ShapeOptions are all of them.
var ShapeOptions = []string{OptionRate, OptionDelay, OptionLoss}

// ShapeNone is the value that leaves traffic alone.
const ShapeNone = "none"

// Bounds of what can be asked for.
const (
	minRate  = 8_000             // bits a second
	maxRate  = 1_000_000_000_000 // what 64 bits of nanoseconds are exact enough for
	minDelay = time.Microsecond
	maxDelay = time.Minute
	million  = 1_000_000
)

// ShapeOf returns what becomes of the traffic of a membership with the options endpoint on
// a network with the options network; either may be nil. Errors are Invalid, and name what
// can be written.
func ShapeOf(network, endpoint map[string]string) (desired.Traffic, error) {
	var out desired.Traffic
	for _, options := range []map[string]string{network, endpoint} {
		for _, o := range []struct {
			key   string
			parse func(string, *desired.Traffic) bool
			way   string
		}{
			{OptionRate, parseRate, "write a number and bit, kbit, mbit or gbit, from 8kbit to 1000gbit"},
			{OptionDelay, parseDelay, "write a time such as 50ms, from 1us to 1m"},
			{OptionLoss, parseLoss, "write a share of packets such as 0.5%, up to 100%"},
		} {
			text, given := options[o.key]
			if !given {
				continue
			}
			if !o.parse(text, &out) {
				return desired.Traffic{}, &model.Error{Kind: model.Invalid, Err: fmt.Errorf("invalid %s value: %.64q", o.key, text), Way: o.way + `, or "none"`}
			}
		}
	}
	return out, nil
}

func parseRate(text string, t *desired.Traffic) bool {
	if text == ShapeNone {
		t.Rate = 0
		return true
	}
	for _, unit := range []struct {
		word string
		bits float64
	}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}} {
		number, ok := strings.CutSuffix(strings.ToLower(text), unit.word)
		if !ok {
			continue
		}
		n, ok := decimal(number)
		t.Rate = uint64(math.Round(n * unit.bits))
		return ok && n*unit.bits >= minRate && n*unit.bits <= maxRate
	}
	return false
}

func parseDelay(text string, t *desired.Traffic) bool {
	if text == ShapeNone {
		t.Delay = 0
		return true
	}
	d, err := time.ParseDuration(text)
	t.Delay = d
	return err == nil && d >= minDelay && d <= maxDelay
}

func parseLoss(text string, t *desired.Traffic) bool {
	if text == ShapeNone {
		t.Loss = 0
		return true
	}
	number, percent := strings.CutSuffix(text, "%")
	n, ok := decimal(number)
	if !percent || !ok || n > 100 {
		return false
	}
	t.Loss = uint32(math.Round(n / 100 * million))
	return t.Loss > 0
}

// decimal reads "10" or "0.5": digits, and no more than people write.
func decimal(text string) (float64, bool) {
	for _, c := range text {
		if c != '.' && (c < '0' || c > '9') {
			return 0, false
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && len(text) <= 20
}

// Shapes returns the rows that slow down the interfaces among rows, which are those of an
// endpoint: both ends of a veth pair, which are one direction each; of another interface
// what its container sends.
func Shapes(t desired.Traffic, rows []desired.Row) (out []desired.Row) {
	if t == (desired.Traffic{}) {
		return nil
	}
	for _, row := range rows {
		l, ok := row.(desired.Link)
		if !ok {
			continue
		}
		burst := burstOf(t, l.MTU)
		out = append(out, desired.Shape{Namespace: l.Namespace, Link: l.Name, Traffic: t, Burst: burst})
		if l.Peer != nil {
			out = append(out, desired.Shape{Namespace: l.Peer.Namespace, Link: l.Peer.Name, Traffic: t, Burst: burst})
		}
	}
	return out
}

// burstOf is what may leave at once, in bytes: ten milliseconds' worth, since a clock that
// ticks rarely would else keep the rate from being reached; two packets at the least, since
// one that is larger than that would never leave.
func burstOf(t desired.Traffic, mtu int) int {
	if t.Rate == 0 {
		return 0
	}
	const ethernet, usual = 18, 1500
	if mtu == 0 {
		mtu = usual
	}
	return max(int(min(t.Rate/8/100, math.MaxInt32/2)), 2*(mtu+ethernet))
}
