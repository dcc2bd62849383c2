package containerview

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerrecord"
)

// Status returns Docker's word for the state.
func Status(r containerrecord.Record) container.ContainerState {
	switch s := r.State; {
	case s.Paused:
		return container.StatePaused
	case s.Restarting:
		return container.StateRestarting
	case s.Running:
		return container.StateRunning
	case s.StartedAt.IsZero():
		return container.StateCreated
	}
	return container.StateExited
}

// statusText is the column STATUS of `docker ps`.
func statusText(r containerrecord.Record, now time.Time) string {
	s := r.State
	switch Status(r) {
	case container.StateRunning:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + healthText(r)
	case container.StatePaused:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + " (Paused)"
	case container.StateRestarting:
		text := fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
		if why := waitingFor(s); why != "" {
			text += ": " + why
		}
		return text
	case container.StateCreated:
		return "Created"
	}
	return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
}

// Health returns a container's health in few words, for lists and filters.
func Health(r containerrecord.Record) container.HealthSummary {
	if r.Health == nil {
		return container.HealthSummary{Status: container.NoHealthcheck}
	}
	return container.HealthSummary{Status: r.Health.Status, FailingStreak: r.Health.FailingStreak}
}

// healthText is what the column STATUS of `docker ps` says of the health of a
// container that runs: nothing without a check.
func healthText(r containerrecord.Record) string {
	switch status := Health(r).Status; status {
	case container.NoHealthcheck:
		return ""
	case container.Starting:
		return " (health: starting)"
	default:
		return " (" + string(status) + ")"
	}
}

// Docker's words around an error of the network, and around one of ports in it.
const (
	NetworkingPrefix  = "failed to set up container networking: "
	ProgrammingPrefix = "driver failed programming external connectivity on endpoint "
)

// reasonShown is how much of the reason for a wait is shown in lists, in
// characters.
const reasonShown = 100

// waitingFor returns in few words why the last start of a container failed that
// waits for the next; empty if it did not fail.
func waitingFor(s containerrecord.Progress) string {
	text := s.Error
	for _, wrapper := range []string{NetworkingPrefix, ProgrammingPrefix} {
		if rest, ok := strings.CutPrefix(text, wrapper); ok {
			text = rest
		}
	}
	if !strings.HasPrefix(s.Error, NetworkingPrefix+ProgrammingPrefix) {
		return oneLine(text)
	}
	// "NAME (ENDPOINT): why": the name is in the list already.
	if _, why, ok := strings.Cut(text, "): "); ok {
		text = why
	}
	return oneLine(text)
}

// oneLine returns the beginning of a text without anything that does not print.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	if runes := []rune(text); len(runes) > reasonShown {
		text = string(runes[:reasonShown-1]) + "…"
	}
	return text
}
