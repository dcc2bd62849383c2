package images

import (
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestHealthcheckOfImage(t *testing.T) {
	if healthcheckOf(model.Image{}) != nil {
		t.Error("a check out of nothing")
	}
	h := healthcheckOf(model.Image{Config: model.ImageConfig{Healthcheck: &model.Healthcheck{Test: []string{"CMD", "x"},
		Interval: 1, Timeout: 2, StartPeriod: 3, StartInterval: 4, Retries: 5}}})
	if h.Test[1] != "x" || h.Interval != 1 || h.Timeout != 2 || h.StartPeriod != 3 || h.StartInterval != 4 || h.Retries != 5 {
		t.Errorf("%+v", h)
	}
}
