package buildkitd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/util/grpcerrors"
	"golang.org/x/sync/errgroup"
)

// serveBuild builds for a client that speaks no gRPC: the context is the body, and the
// answer is lines of Docker's progress. What goes wrong is the last line.
func (s *Server) serveBuild(w http.ResponseWriter, r *http.Request) {
	b, err := parseBuild(r.URL.Query().Get("options"))
	if err != nil {
		refuse(w, err)
		return
	}
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		refuse(w, err)
		return
	}
	from := b.Remote
	switch {
	case from == "":
		url, forget := s.contexts.add(r.Body)
		defer forget()
		from = url
	case from == remoteSession:
		from = ""
	}
	request, err := solveRequest(b, from, s.hostGateways)
	if err != nil {
		refuse(w, err)
		return
	}
	if own := ownNetwork(b.Network); own != "" {
		defer s.networks.named.hold(own)()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	show := newProgress(w, b)
	ctx, leave, err := s.authorize(r.Context(), b, request)
	if err == nil {
		err = s.solve(ctx, request, show)
		leave()
	}
	if err != nil {
		show.fail(err)
	}
}

// solve builds, and shows how far it is. Only the build ends with ctx: what it says last,
// such as that it was cancelled, is still shown.
func (s *Server) solve(ctx context.Context, request *controlapi.SolveRequest, show *progress) error {
	request.Ref = identity.NewID()
	status, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var both errgroup.Group
	var answer *controlapi.SolveResponse
	both.Go(func() (err error) {
		answer, err = s.client.Solve(ctx, request)
		if err != nil && ctx.Err() != nil {
			cancel() // nobody reads the status any more
		}
		return err
	})
	both.Go(func() error {
		stream, err := s.client.Status(status, &controlapi.StatusRequest{Ref: request.Ref})
		for err == nil {
			var one *controlapi.StatusResponse
			if one, err = stream.Recv(); err == nil {
				err = show.status(one)
			}
		}
		if errors.Is(err, io.EOF) || status.Err() != nil {
			return nil
		}
		return err
	})
	if err := both.Wait(); err != nil {
		return err
	}
	return show.done(answer.ExporterResponse)
}

// plainly returns the text of an error as people read it: without gRPC's words.
func plainly(err error) string { return grpcerrors.FromGRPC(err).Error() }

// exitCode is that of the process that a build failed of; 0 if it did not. On its way through
// gRPC an error keeps only its text, which ends with the code.
func exitCode(text string) int {
	_, after, found := cutLast(text, "did not complete successfully: exit code: ")
	if !found {
		return 0
	}
	digits, _, _ := strings.Cut(after, ":") // what the runtime has to say
	code, err := strconv.ParseUint(digits, 10, 8)
	if err != nil {
		return 0
	}
	return int(code)
}

// cutLast is strings.Cut at the last separator: the first may be in the command.
func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// connect makes the client by which the server asks its own solver.
func (s *Server) connect() error {
	conn, err := dialOwn(s.taken)
	if err != nil {
		return fmt.Errorf("ask the solver: %w", err)
	}
	s.conn, s.client = conn, controlapi.NewControlClient(conn)
	return nil
}
