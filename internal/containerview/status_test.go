package containerview

import (
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/containerrecord"
)

func TestStatusText(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for want, s := range map[string]containerrecord.Progress{
		"Created":                      {},
		"Up 3 seconds":                 {Running: true, StartedAt: ago(3 * time.Second)},
		"Up 2 hours (Paused)":          {Running: true, Paused: true, StartedAt: ago(2 * time.Hour)},
		"Restarting (1) 4 minutes ago": {Running: true, Restarting: true, ExitCode: 1, StartedAt: ago(time.Hour), FinishedAt: ago(4 * time.Minute)},
		"Exited (0) 2 minutes ago":     {StartedAt: ago(time.Hour), FinishedAt: ago(2 * time.Minute)},
	} {
		if got := statusText(containerrecord.Record{State: s}, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestReasonForTheWait(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "broken": "broken",
		"failed to set up container networking: network web not found":                                                                      "network web not found",
		NetworkingPrefix + ProgrammingPrefix + "one (0123abcd): failed to bind host port 192.0.2.1:80/tcp: cannot assign requested address": "failed to bind host port 192.0.2.1:80/tcp: cannot assign requested address",
		"two\nlines\x1b[2J":      "two lines [2J",
		strings.Repeat("é", 300): strings.Repeat("é", reasonShown-1) + "…",
	} {
		if got := waitingFor(containerrecord.Progress{Error: text}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
