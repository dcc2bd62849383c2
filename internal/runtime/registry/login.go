package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	tokens "github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"

	"github.com/linkspan/linkspan/internal/model"
)

// loginTimeout bounds asking a registry whether it knows somebody.
const loginTimeout = 15 * time.Second

// Login asks a registry whether it knows somebody. token, if it is not empty, is what the registry
// wants to see in place of the password from now on. Errors: Unauthorized if it does not.
func (r *Registries) Login(ctx context.Context, auth model.RegistryAuth) (token string, err error) {
	name, err := serverOf(auth.ServerAddress)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*loginTimeout)
	defer cancel()
	hosts, err := r.hosts(name, name, auth)
	if err != nil {
		return "", err
	}
	h := hosts[len(hosts)-1] // those before it are mirrors: they are not to see a password
	h.Client.Timeout = loginTimeout
	// The scheme is what it was asked for, not what it fell back to.
	page := h.Scheme + "://" + h.Host + h.Path + "/"
	resp, err := get(ctx, h.Client, page, "")
	if err != nil {
		return "", loginFailed(err)
	}
	if resp.StatusCode != http.StatusUnauthorized {
		return "", accepted(page, resp)
	}
	for _, c := range tokens.ParseAuthHeader(resp.Header) {
		switch c.Scheme {
		case tokens.BasicAuth:
			return "", loginBasic(ctx, h, page, auth)
		case tokens.BearerAuth:
			return loginBearer(ctx, h, page, auth, c)
		}
	}
	return "", accepted(page, resp)
}

// serverOf returns the registry's name of what a user calls it, "https://index.docker.io/v1/" among
// others.
func serverOf(address string) (string, error) {
	if address == "" {
		return hubName, nil
	}
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", model.Errorf(model.Invalid, "unable to parse server address: %w", errors.Join(err, errors.New(address)))
	}
	if u.Host == hubAuth || u.Host == hubHost {
		return hubName, nil
	}
	return u.Host, nil
}

// get asks for a page, with an Authorization if there is one. Of the answer only the head is left.
func get(ctx context.Context, client *http.Client, page, authorization string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, http.NoBody)
	if err != nil {
		return nil, err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	return resp, resp.Body.Close()
}

// accepted returns an error unless an answer means that somebody is known.
func accepted(page string, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	kind := model.Unfit
	if resp.StatusCode == http.StatusUnauthorized {
		kind = model.Unauthorized
	}
	return model.Errorf(kind, "login attempt to %s failed with status: %d %s", page, resp.StatusCode, http.StatusText(resp.StatusCode))
}

func loginBasic(ctx context.Context, h docker.RegistryHost, page string, auth model.RegistryAuth) error {
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(auth.Username, auth.Password)
	resp, err := get(ctx, h.Client, page, req.Header.Get("Authorization"))
	if err != nil {
		return loginFailed(err)
	}
	return accepted(page, resp)
}

// loginBearer has the registry's token server give a token, and tries it.
func loginBearer(ctx context.Context, h docker.RegistryHost, page string, auth model.RegistryAuth, c tokens.Challenge) (string, error) {
	user, secret := auth.Username, auth.Password
	if auth.IdentityToken != "" {
		user, secret = "", auth.IdentityToken
	}
	options, err := tokens.GenerateTokenOptions(ctx, h.Host, user, secret, c)
	if err != nil {
		return "", model.Errorf(model.Unfit, "Get %q: %w", page, err)
	}
	options.FetchRefreshToken = true
	var token, refresh string
	if auth.IdentityToken != "" {
		got, asked := tokens.FetchTokenWithOAuth(ctx, h.Client, nil, "docker", options)
		if err = asked; err == nil {
			token, refresh = got.AccessToken, got.RefreshToken
		}
	} else {
		got, asked := tokens.FetchToken(ctx, h.Client, nil, options)
		if err = asked; err == nil {
			token, refresh = got.Token, got.RefreshToken
		}
	}
	if err != nil {
		return "", refused(page, err)
	}
	resp, err := get(ctx, h.Client, page, "Bearer "+token)
	if err != nil {
		return "", loginFailed(err)
	}
	if refresh == "" {
		refresh = auth.IdentityToken
	}
	return refresh, accepted(page, resp)
}

// refused is what a token server has said, as Docker puts it.
func refused(page string, err error) error {
	var status remoteerrors.ErrUnexpectedStatus
	if !errors.As(err, &status) {
		return loginFailed(fmt.Errorf("Get %q: %w", page, err))
	}
	kind, text := model.Unfit, err.Error()
	if status.StatusCode == http.StatusUnauthorized {
		kind, text = model.Unauthorized, "unauthorized: authentication required"
	}
	if list := said(status.Body); len(list) > 0 {
		_, words := sentence(list[0])
		text = fmt.Sprintf("%s: %.*s", docker.ErrorCodeUnauthorized.Error(), wordsLimit, printable(words))
	}
	return model.Errorf(kind, "Get %q: %s", page, text)
}

// loginFailed is an error of the connection.
func loginFailed(err error) error {
	return &model.Error{Op: "registry.login", Kind: model.Unfit, Err: err, Way: wayOut(err)}
}
