package httpkit

import "context"

// closingKey is where Serve keeps the context that ends when the daemon does.
type closingKey struct{}

// WithClosing lets requests below ctx know when the daemon is about to end.
func WithClosing(ctx, closing context.Context) context.Context {
	return context.WithValue(ctx, closingKey{}, closing)
}

// UntilClosing returns a context that ends with ctx, and already when the daemon
// is about to end: for answers that go on for ever, which would else hold it up.
func UntilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	closing, ok := ctx.Value(closingKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	forget := context.AfterFunc(closing, cancel)
	return ctx, func() {
		forget() // or the daemon would remember every answer there was
		cancel()
	}
}
