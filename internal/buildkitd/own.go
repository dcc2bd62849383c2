package buildkitd

import (
	"context"
	"errors"
	"net"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

// dialOwn connects to a gRPC server of this process.
func dialOwn(l *handedOver) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:own",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			here, there := net.Pipe()
			return here, errors.Join(l.hand(there))
		}),
		grpc.WithChainUnaryInterceptor(grpcerrors.UnaryClientInterceptor), grpc.WithChainStreamInterceptor(grpcerrors.StreamClientInterceptor),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxStatus)),
	)
}

// maxStatus bounds one message of the solver's, in bytes.
const maxStatus = 16 << 20

// authorize gives a build whose client sent credentials, and has no session, a session that
// hands them out. leave must be called when it is over.
func (s *Server) authorize(ctx context.Context, b wire.Build, request *controlapi.SolveRequest) (_ context.Context, leave func(), err error) {
	if b.Session != "" || len(b.Auth) == 0 {
		return ctx, func() {}, nil
	}
	own, err := session.NewSession(ctx, "")
	if err != nil {
		return ctx, nil, err
	}
	own.Allow(credentials{known: b.Auth})
	ctx, cancel := context.WithCancel(ctx)
	go own.Run(ctx, func(ctx context.Context, _ string, meta map[string][]string) (net.Conn, error) { //nolint:errcheck // that it ends is what cancel asks for
		here, there := net.Pipe()
		go s.sessions.HandleConn(ctx, there, meta) //nolint:errcheck // as above
		return here, nil
	})
	request.Session = own.ID()
	return ctx, func() {
		cancel()
		own.Close() //nolint:errcheck // its connection is gone with cancel
	}, nil
}

// credentials is a session that knows credentials and nothing else.
type credentials struct {
	auth.UnimplementedAuthServer
	known map[string]wire.Auth
}

// Register implements session.Attachable.
func (c credentials) Register(s *grpc.Server) { auth.RegisterAuthServer(s, c) }

// Credentials implements auth.AuthServer.
func (c credentials) Credentials(_ context.Context, r *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	for _, name := range namesOfRegistry(r.Host) {
		if a, ok := c.known[name]; ok && a.IdentityToken != "" {
			return &auth.CredentialsResponse{Secret: a.IdentityToken}, nil
		} else if ok {
			return &auth.CredentialsResponse{Username: a.Username, Secret: a.Password}, nil
		}
	}
	return &auth.CredentialsResponse{}, nil
}

// FetchToken implements auth.AuthServer: the solver fetches its tokens itself.
func (credentials) FetchToken(context.Context, *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	return nil, status.Error(codes.Unavailable, "client side tokens not available")
}

// namesOfRegistry are the names under which clients file credentials for a registry.
func namesOfRegistry(host string) []string {
	if host == "registry-1.docker.io" || host == "docker.io" {
		return []string{"https://index.docker.io/v1/", "index.docker.io", "docker.io", host}
	}
	return []string{host, "https://" + host, "http://" + host}
}
