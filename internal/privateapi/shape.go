package privateapi

import (
	"context"
	"net/http"
	"net/url"
)

// Shape says how traffic is to be slowed down or lost: PUT
// /linkspan/v1/networks/NAME/shape. What is nil stays as it is; what is empty is taken away.
type Shape struct {
	Container string  `json:",omitempty"` // name or ID; empty: all of the network
	Rate      *string `json:",omitempty"` // "10mbit"
	Delay     *string `json:",omitempty"` // "50ms"
	Loss      *string `json:",omitempty"` // "0.5%"
}

// Shape changes how traffic of a network is slowed down or lost. Errors: NotFound; Invalid;
// NotImplemented if the kernel cannot.
func (c Client) Shape(ctx context.Context, network string, s Shape) error {
	return c.ask(ctx, http.MethodPut, "/linkspan/v1/networks/"+url.PathEscape(network)+"/shape", s, nil)
}
