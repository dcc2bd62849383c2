package images

import (
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// TestLayersAreSharedInOrder: the same layer on top of another is another one.
func TestLayersAreSharedInOrder(t *testing.T) {
	shared, total := layerUsage([]model.Image{
		{ID: "one", Layers: []string{"a", "b"}, LayerSizes: []int64{1, 2}},
		{ID: "two", Layers: []string{"a", "c", "b"}, LayerSizes: []int64{1, 4, 2}},
		{ID: "three", Layers: []string{"b"}, LayerSizes: []int64{2}},
		{ID: "damaged", Layers: []string{"a", "b"}},
	})
	if shared["one"] != 1 || shared["two"] != 1 || shared["three"] != 0 || total != 11 {
		t.Errorf("%v of %d", shared, total)
	}
}
