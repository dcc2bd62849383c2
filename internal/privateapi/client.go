package privateapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// DefaultSocket is where a daemon with the default --exec-root listens.
	DefaultSocket = "/run/linkspan/private.sock"
	// patience bounds one request: an attach that has to wait for its turn behind many
	// others, and for a kernel under load.
	patience = 90 * time.Second
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 64 << 20
	// attachments is where they are.
	attachments = "/linkspan/v1/attachments"
)

// Away is the error of a daemon that cannot be asked: nobody listens, or it ended before
// it had answered. Whether it has done what it was asked is not known then.
type Away struct {
	Socket string
	Err    error
}

// Error implements error.
func (a *Away) Error() string {
	return fmt.Sprintf("the daemon is away: %v\nIs it running, and is %s its private socket?", a.Err, a.Socket)
}

// Unwrap returns why.
func (a *Away) Unwrap() error { return a.Err }

// Client asks the daemon at a private socket. Errors are *Away, or a *model.Error of the
// daemon's kind and text.
type Client struct{ Socket string }

// Attach has a namespace join a network.
func (c Client) Attach(ctx context.Context, r Request) (out Attachment, err error) {
	err = c.ask(ctx, http.MethodPost, attachments, r, &out)
	return out, err
}

// Detach removes attachments; that there are none is no error.
func (c Client) Detach(ctx context.Context, r Ref) error {
	return c.ask(ctx, http.MethodDelete, attachments+"?"+r.Query().Encode(), nil, nil)
}

// List returns attachments.
func (c Client) List(ctx context.Context, r Ref) (out []Attachment, err error) {
	err = c.ask(ctx, http.MethodGet, attachments+"?"+r.Query().Encode(), nil, &out)
	return out, err
}

// Check asks whether an attachment is there and whole. Errors: NotFound if there is
// none; Conflict if it is not as it is to be.
func (c Client) Check(ctx context.Context, r Check) error {
	return c.ask(ctx, http.MethodPost, attachments+"/check", r, nil)
}

// Collect removes what is not in use any more.
func (c Client) Collect(ctx context.Context, r Collect) (out Collected, err error) {
	err = c.ask(ctx, http.MethodPost, attachments+"/collect", r, &out)
	return out, err
}

// Ready asks whether a network can take one more. Errors: NotFound if there is none;
// what an attach says if it cannot, such as that no address is left.
func (c Client) Ready(ctx context.Context, network string) error {
	return c.ask(ctx, http.MethodGet, attachments+"/ready?network="+url.QueryEscape(network), nil, nil)
}

// ask sends one request, and reads the answer into a value unless that is nil.
func (c Client) ask(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return err
		}
	}
	got, err := c.send(ctx, method, path, &content)
	if err != nil {
		return err
	}
	defer got.Close()
	raw, err := io.ReadAll(io.LimitReader(got, maxAnswer))
	if err != nil {
		return c.away(err)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("the daemon's answer cannot be read: %w", err)
	}
	return nil
}

// stream sends one request and returns the answer, which comes as long as ctx lets it. The
// caller closes it.
func (c Client) stream(ctx context.Context, method, path string) (io.ReadCloser, error) {
	return c.send(ctx, method, path, http.NoBody)
}

// send sends one request, and returns the body of an answer that is no error.
func (c Client) send(ctx context.Context, method, path string, content io.Reader) (io.ReadCloser, error) {
	resp, err := c.do(ctx, method, path, content)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// do is send, with the whole answer.
func (c Client) do(ctx context.Context, method, path string, content io.Reader) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://linkspan"+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, c.away(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.away(err)
	}
	return nil, &model.Error{Kind: kindOf(resp.StatusCode), Err: errors.New(strings.TrimSpace(string(raw)))}
}

// away says that the daemon could not be asked, without the URL, which says nothing.
func (c Client) away(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return &Away{c.Socket, err}
}

// statuses are how HTTP says an error's kind on the private socket. What is not among them
// is Internal.
var statuses = map[model.Kind]int{
	model.Invalid:        http.StatusBadRequest,
	model.NotFound:       http.StatusNotFound,
	model.Conflict:       http.StatusConflict,
	model.Forbidden:      http.StatusForbidden,
	model.Unavailable:    http.StatusServiceUnavailable,
	model.NotImplemented: http.StatusNotImplemented,
}

// kindOf is what a status says of an error.
func kindOf(status int) model.Kind {
	for kind, its := range statuses {
		if its == status {
			return kind
		}
	}
	return model.Internal
}

// StatusOf is how whoever passes the daemon's answers on says an error of a Client.
func StatusOf(err error) int {
	var away *Away
	if errors.As(err, &away) {
		return http.StatusBadGateway
	}
	if status, ok := statuses[model.KindOf(err)]; ok {
		return status
	}
	return http.StatusInternalServerError
}
