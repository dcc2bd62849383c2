package private

import (
	"context"
	"net/http"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// Shaper changes how traffic is slowed down or lost.
type Shaper interface {
	Shape(ctx context.Context, network string, sandbox model.SandboxID, options map[string]string) error
}

// shape changes what becomes of the traffic of a network, or of one container on it.
func (d *server) shape(r *http.Request) (any, error) {
	var body privateapi.Shape
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if d.Shaper == nil {
		return nil, model.Errorf(model.NotImplemented, "traffic is not shaped here")
	}
	options := map[string]string{}
	for key, value := range map[string]*string{driver.OptionRate: body.Rate, driver.OptionDelay: body.Delay, driver.OptionLoss: body.Loss} {
		if value != nil {
			options[key] = *value
		}
	}
	sandbox := model.SandboxID("")
	if body.Container != "" {
		sb, err := d.reader.Sandbox(r.Context(), body.Container)
		if err != nil {
			return nil, err
		}
		sandbox = sb.ID
	}
	return nil, d.Shaper.Shape(r.Context(), r.PathValue("network"), sandbox, options)
}
