package runtime

import (
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// TestLayerSizes: what a container writes is counted, what its image has is not.
func TestLayerSizes(t *testing.T) {
	e := newEngine(t)
	if _, _, err := e.LayerSizes(t.Context(), "nobody"); model.KindOf(err) != model.NotFound {
		t.Errorf("of nobody: %v", err)
	}
	spec := e.spec("dd if=/dev/zero of=/tmp/big bs=1024 count=3000 2>/dev/null; sleep 1000")
	c := e.start(spec)
	eventually(t, func() bool {
		written, image, err := e.LayerSizes(t.Context(), spec.ID)
		return err == nil && written >= 3000<<10 && written < 4000<<10 && image == e.image.Size && image > 0
	}, func() string {
		written, image, err := e.LayerSizes(t.Context(), spec.ID)
		return fmt.Sprint("sizes ", written, image, err)
	})
	if err := e.Kill(t.Context(), spec.ID, 9, true); err != nil {
		t.Fatal(err)
	}
	c.end()
}
