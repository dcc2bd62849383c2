package networks

import (
	"context"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops/shaping"
)

// Shape changes how traffic of a network, by its name or ID, is slowed down or lost, while
// it runs: driver.ShapeOptions, by their names; an empty value takes one away. With a sandbox
// it is that one's membership alone. Errors: those of shaping.Set; NotImplemented, with the
// way out, if the kernel cannot do it, and then everything is as before.
func (m *Manager) Shape(ctx context.Context, network string, sandbox model.SandboxID, options map[string]string) error {
	_, err := m.engine.Do(ctx, shaping.Set(network, sandbox, options))
	return err
}
