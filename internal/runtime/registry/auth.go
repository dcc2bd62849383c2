package registry

import (
	"context"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"

	"github.com/linkspan/linkspan/internal/model"
)

// hostOf returns the host that credentials are for: what a client's configuration files them
// under, which may be a URL, or the domain of the image.
func hostOf(server, domain string) string {
	if _, rest, ok := strings.Cut(server, "://"); ok {
		server = rest
	}
	server, _, _ = strings.Cut(server, "/")
	if server == "" {
		server = domain
	}
	if server == hubAuth || server == hubName {
		server = hubHost
	}
	return server
}

// authorizer answers a registry that asks who one is, by Basic or by a token (distribution-spec,
// "Token Authentication"). Nobody but the credentials' own registry gets to see them; others are
// asked for a token as nobody.
func authorizer(auth model.RegistryAuth, domain string, client *http.Client) docker.Authorizer {
	host := hostOf(auth.ServerAddress, domain)
	if auth.RegistryToken != "" {
		return bearer{host, auth.RegistryToken}
	}
	return docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(func(asked string) (string, string, error) {
		switch {
		case asked != host:
			return "", "", nil
		case auth.IdentityToken != "":
			return "", auth.IdentityToken, nil
		}
		return auth.Username, auth.Password, nil
	}))
}

// bearer is a token that a client has got by itself.
type bearer struct{ host, token string }

// Authorize implements docker.Authorizer.
func (b bearer) Authorize(_ context.Context, req *http.Request) error {
	if req.URL.Host == b.host {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	return nil
}

// AddResponses implements docker.Authorizer: there is no other token to try.
func (b bearer) AddResponses(context.Context, []*http.Response) error {
	return errdefs.ErrNotImplemented
}
