package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var update = flag.Bool("update", false, "write docs/metrics.md as the code has it")

// described is how the library shows what a metric is.
var described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: (".*"), unit: "[^"]*", constLabels: \{.*\}, variableLabels: \{([^}]*)\}\}$`)

// TestMetricsAreDocumented: docs/metrics.md has every metric of ours, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	registry := prometheus.NewRegistry()
	(&daemon{repairs: newRepairs()}).register(registry)
	all := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(all)
		close(all)
	}()
	var rows []string
	for d := range all {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("the library writes it otherwise now: %s", d)
		}
		if !strings.HasPrefix(m[1], "linkspan_") {
			continue // of the program: see the page
		}
		var help string
		if _, err := fmt.Sscanf(m[2], "%q", &help); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", m[1], strings.ReplaceAll(m[3], ",", ", "), help))
	}
	if len(rows) < 10 {
		t.Fatalf("only %d metrics: the test does not see them", len(rows))
	}
	slices.Sort(rows)
	const page, head = "../../docs/metrics.md", "|---|---|---|\n"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(raw), head)
	if !found {
		t.Fatalf("%s has no table", page)
	}
	want := before + head + strings.Join(rows, "\n") + "\n"
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(raw) {
		t.Errorf("%s is not what the code has: go test ./cmd/linkspand -run Metrics -update\nwant:\n%s", page, strings.Join(rows, "\n"))
	}
}
