package runtime

import (
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// startError makes an error that is about the program of a container or an exec, and so the
// user's, a *model.StartError.
func startError(err error) error {
	code, ok := containerd.StartCode(err)
	if !ok {
		return err
	}
	kind := model.KindOf(err)
	if kind == model.Internal {
		kind = model.Invalid
	}
	return &model.Error{Kind: kind, Err: &model.StartError{Code: code, Err: err}}
}
