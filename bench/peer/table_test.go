package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	broken := figure{err: errors.New("broken")}
	for _, c := range []struct {
		what         string
		ours, theirs figure
		target       target
		want         string
	}{
		{"no target", figure{value: 1}, figure{value: 1}, target{}, ""},
		{"faster", figure{value: 5}, figure{value: 10}, ratioAtMost(0.6), "ok"},
		{"not fast enough", figure{value: 7}, figure{value: 10}, ratioAtMost(0.6), "missed"},
		{"more", figure{value: 20}, figure{value: 10}, ratioAtLeast(2), "ok"},
		{"not more enough", figure{value: 19}, figure{value: 10}, ratioAtLeast(2), "missed"},
		{"nothing to compare with", figure{value: 7}, broken, ratioAtMost(0.6), "?"},
		{"ours failed", broken, figure{value: 7}, ratioAtMost(0.6), "missed"},
		{"alone", figure{value: 499}, figure{err: errNotRun}, atMost(500), "ok"},
		{"alone and late", figure{value: 501}, figure{err: errNotRun}, atMost(500), "missed"},
		{"just enough", figure{value: 50}, figure{value: 50}, atLeast(50), "ok"},
		{"one too few", figure{value: 49}, figure{value: 50}, atLeast(50), "missed"},
	} {
		r := row{linkspan: c.ours, docker: c.theirs, target: c.target}
		if got := r.verdict(); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// TestMeasureTakesMedians: a side that fails is not asked again, and the other goes on.
func TestMeasureTakesMedians(t *testing.T) {
	var out strings.Builder
	b := &bench{linkspan: &side{name: "linkspan"}, docker: &side{name: "docker.io"}, table: &table{to: &out}}
	values, asked := []float64{9, 1, 3}, 0
	b.measure(t.Context(), row{what: "speed", unit: "ms", target: atMost(3)}, 3, func(_ context.Context, s *side) (float64, error) {
		if s == b.docker {
			asked++
			return 0, errors.New("it fell over")
		}
		value := values[0]
		values = values[1:]
		return value, nil
	})
	b.table.foot("")
	if asked != 1 || b.table.ok != 1 || !strings.Contains(out.String(), "3 ms") || !strings.Contains(out.String(), "docker.io: speed: it fell over") {
		t.Errorf("asked %d times, %d ok:\n%s", asked, b.table.ok, &out)
	}
}

func TestSampleLiesInTheRange(t *testing.T) {
	one, again := sample(10_000, 100), sample(10_000, 100)
	if words := strings.Split(one, ","); one != again || len(words) != sampleSize {
		t.Errorf("%s and %s", one, again)
	}
	if got := sample(80, 1); got != "80" {
		t.Errorf("of one port: %s", got)
	}
	if got := portRange(10_000, 1000); got != "10000-10999:10000-10999" {
		t.Errorf("a range: %s", got)
	}
}
