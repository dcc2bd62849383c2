package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func backends(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	return out
}

// dealt returns the backend of each bucket.
func dealt(salt string, all []string, n int) (out []string) {
	for _, i := range Buckets(salt, all, n) {
		out = append(out, all[i])
	}
	return out
}

func differ(a, b []string) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// TestShares: each backend has what the division gives, or one bucket more.
func TestShares(t *testing.T) {
	for n := 1; n <= 120; n++ {
		size, counts := Size(n), map[string]int{}
		all := backends(n)
		for _, b := range dealt("salt", all, size) {
			counts[b]++
		}
		for _, b := range all {
			if c := counts[b]; c != size/n && c != size/n+1 {
				t.Errorf("%s of %d has %d of %d buckets", b, n, c, size)
			}
		}
	}
}

// TestFewMove: a backend that goes, or comes, moves its own buckets, and few others.
func TestFewMove(t *testing.T) {
	for _, n := range []int{2, 3, 5, 8, 13, 40, 120} {
		all, size := backends(n), Size(n)
		before := dealt("salt", all, size)
		for gone := range all {
			after := dealt("salt", slices.Delete(slices.Clone(all), gone, gone+1), size)
			if slices.Contains(after, all[gone]) {
				t.Fatalf("%s is gone and has buckets", all[gone])
			}
			if moved := differ(before, after); moved > size/n+size/4 {
				t.Errorf("one of %d goes: %d of %d buckets move", n, moved, size)
			}
		}
	}
}

// TestOrderDoesNotCount: hosts that hear of backends in another order deal alike; hosts
// with another salt do not.
func TestOrderDoesNotCount(t *testing.T) {
	all := backends(7)
	want := dealt("host one", all, Few)
	for range 20 {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if got := dealt("host one", all, Few); !slices.Equal(got, want) {
			t.Fatalf("in the order %v: %v", all, got)
		}
	}
	if moved := differ(want, dealt("host two", all, Few)); moved < Few/2 {
		t.Errorf("another salt moves %d buckets only", moved)
	}
}

// TestEdges: nobody, more than there are buckets, and sizes that do not flap.
func TestEdges(t *testing.T) {
	if got := Buckets("", nil, Few); got != nil {
		t.Errorf("of nobody: %v", got)
	}
	crowd := dealt("", backends(Many+100), Many)
	slices.Sort(crowd)
	if n := len(slices.Compact(crowd)); n != Many {
		t.Errorf("%d buckets have %d backends", Many, n)
	}
	for n, want := range map[int]int{0: Few, 1: Few, maxOfFew: Few, maxOfFew + 1: Many, 5000: Many} {
		if got := Size(n); got != want {
			t.Errorf("%d backends share %d buckets", n, got)
		}
	}
}

func BenchmarkBuckets(b *testing.B) {
	all := backends(250)
	for b.Loop() {
		Buckets("salt", all, Many)
	}
}
