package workload

import "github.com/moby/moby/api/types/container"

// health returns a container's health in few words, for lists and filters.
func (r record) health() container.HealthSummary {
	if r.Health == nil {
		return container.HealthSummary{Status: container.NoHealthcheck}
	}
	return container.HealthSummary{Status: r.Health.Status, FailingStreak: r.Health.FailingStreak}
}

// healthText is what the column STATUS of `docker ps` says of the health of a
// container that runs: nothing without a check.
func (r record) healthText() string {
	switch status := r.health().Status; status {
	case container.NoHealthcheck:
		return ""
	case container.Starting:
		return " (health: starting)"
	default:
		return " (" + string(status) + ")"
	}
}
