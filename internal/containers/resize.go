package containers

import (
	"context"
	"strconv"

	"github.com/moby/moby/api/types/events"
)

// Resize sets the size of a container's terminal, in characters.
func (at *attacher) Resize(ctx context.Context, ref string, width, height uint) error {
	b, err := at.find(ref)
	if err != nil {
		return err
	}
	if b.current() == nil {
		return notRunning(b.id)
	}
	if err := at.control.Resize(ctx, b.id, width, height); err != nil {
		return orEnded(b.id, err)
	}
	at.say(b, events.ActionResize, "height", strconv.FormatUint(uint64(height), 10), "width", strconv.FormatUint(uint64(width), 10))
	return nil
}
