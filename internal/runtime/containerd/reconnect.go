package containerd

import (
	"context"
	"path"
	"slices"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

const (
	// outage is how long a request waits for a containerd that is being started
	// again. A child is away for backoffLast at most, and then needs to load its
	// tasks.
	outage = backoffLast + 5*time.Second
	// askings is how often a request is sent whose answer was lost each time.
	askings = 3
)

// repeatable are the requests that change nothing the second time: their answer is
// asked for again if containerd dies before it gives it. Two SIGKILLs are as good
// as one. A second pause is refused, and one that was lost may have happened, wholly
// or half: see runtime's finishFreeze.
func repeatable(method string, request any) bool {
	if kill, ok := request.(*tasks.KillRequest); ok {
		return kill.Signal == uint32(unix.SIGKILL)
	}
	return slices.Contains([]string{"Get", "List", "ListPids", "Stat", "Mounts", "Version", "Plugins", "Delete", "DeleteProcess", "Remove",
		"Pause", "Resume"},
		path.Base(method))
}

// dialOptions let requests outlive a restart of containerd: the connection is tried
// again at once instead of after gRPC's usual second and more, and who asks
// meanwhile waits for it, within limits, instead of being refused.
// Each attempt is called through call, unless that is nil.
func dialOptions(call grpc.UnaryClientInterceptor) []grpc.DialOption {
	out := []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 5 * time.Second, Backoff: backoff.Config{
			BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 250 * time.Millisecond}}),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any,
			conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return patiently(ctx, conn, repeatable(method, request), func() error {
				return invoke(ctx, method, request, reply, conn, opts...)
			})
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn,
			method string, open grpc.Streamer, opts ...grpc.CallOption) (stream grpc.ClientStream, err error) {
			err = patiently(ctx, conn, false, func() error {
				stream, err = open(ctx, desc, conn, method, opts...)
				return err
			})
			return stream, err
		}),
	}
	if call != nil {
		out = append(out, grpc.WithChainUnaryInterceptor(call))
	}
	return out
}

// patiently asks once there is a connection, and again if the answer was lost and
// asking twice does no harm.
func patiently(ctx context.Context, conn *grpc.ClientConn, repeat bool, ask func() error) error {
	limit, cancel := context.WithTimeout(ctx, outage)
	defer cancel()
	for asked := 1; ; asked++ {
		awaitReady(limit, conn)
		err := ask()
		if status.Code(err) != codes.Unavailable || asked == askings || !repeat {
			return err
		}
		select {
		case <-limit.Done():
			return err
		case <-time.After(RetryFirst): // the answer's end can be seen before that of the connection
		}
	}
}

// awaitReady waits until there is a connection, or ctx is done: the request that
// follows says what is wrong.
func awaitReady(ctx context.Context, conn *grpc.ClientConn) {
	for {
		state := conn.GetState()
		if state == connectivity.Ready || state == connectivity.Shutdown {
			return
		}
		conn.Connect()
		if !conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}
