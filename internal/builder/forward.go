package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// maxAnswer bounds an answer that is read whole, in bytes.
	maxAnswer = 64 << 20
	// flushAtOnce has what comes handed on as it comes.
	flushAtOnce = -1
)

// Forward has the program answer a request, at a path of its own, and returns when it has:
// a connection that it takes over, when that is closed. An error comes before any answer.
func (b *Builder) Forward(w http.ResponseWriter, r *http.Request, path string, query url.Values) error {
	socket, release, err := b.use(r.Context())
	if err != nil {
		return err
	}
	defer release()
	var failed error
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = &url.URL{Scheme: "http", Host: "builder", Path: path, RawQuery: query.Encode()}
			p.Out.Host = "builder"
		},
		Transport:     transport(socket),
		FlushInterval: flushAtOnce,
		ErrorHandler:  func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		ModifyResponse: func(answer *http.Response) error {
			if answer.StatusCode < http.StatusBadRequest {
				return nil
			}
			return refusal(answer)
		},
		ErrorLog: slog.NewLogLogger(b.o.Logger.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(w, r)
	return failed
}

// transport reaches the program. Its connections are not kept: nothing of a run must be used
// with the next.
func transport(socket string) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
}

// refusal is the error that an answer says.
func refusal(answer *http.Response) error {
	defer answer.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	kind := model.Internal
	if answer.StatusCode == http.StatusBadRequest {
		kind = model.Invalid
	}
	return &model.Error{Kind: kind, Err: errors.New(strings.TrimSpace(string(text)))}
}

// Usage returns what is in the cache: nothing if nobody has ever built, for which no program
// is started.
func (b *Builder) Usage(ctx context.Context) (out []wire.Record, err error) {
	if !b.o.Built() {
		return nil, nil
	}
	return out, b.ask(ctx, http.MethodGet, wire.PathUsage, nil, &out)
}

// Prune removes from the cache.
func (b *Builder) Prune(ctx context.Context, p wire.Prune) (out wire.Pruned, err error) {
	if !b.o.Built() {
		return out, nil
	}
	return out, b.ask(ctx, http.MethodPost, wire.PathPrune, p, &out)
}

// ask sends a question and reads the answer.
func (b *Builder) ask(ctx context.Context, method, path string, question, answer any) error {
	socket, release, err := b.use(ctx)
	if err != nil {
		return err
	}
	defer release()
	var body bytes.Buffer
	if question != nil {
		if err := json.NewEncoder(&body).Encode(question); err != nil {
			return err
		}
	}
	got, err := send(ctx, socket, method, path, &body)
	if err != nil {
		return err
	}
	defer got.Body.Close() //nolint:errcheck // only read
	if got.StatusCode != http.StatusOK {
		return refusal(got)
	}
	return json.NewDecoder(io.LimitReader(got.Body, maxAnswer)).Decode(answer)
}

func send(ctx context.Context, socket, method, path string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://builder"+path, body)
	if err != nil {
		return nil, err
	}
	got, err := (&http.Client{Transport: transport(socket)}).Do(r)
	if err != nil {
		return nil, model.Errorf(model.Unavailable, "the builder does not answer: %w", err)
	}
	return got, nil
}

// listen hears of images that a run makes, until it ends.
func (b *Builder) listen(r *running) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(b.life, cancel)()
	go func() {
		select {
		case <-r.process.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	got, err := send(ctx, r.config.Socket, http.MethodGet, wire.PathImages, http.NoBody)
	if err != nil {
		b.o.Logger.Warn("images that are built are not told of", "op", "build.listen", "err", err)
		return
	}
	defer got.Body.Close() //nolint:errcheck // only read
	for lines := json.NewDecoder(got.Body); ; {
		var made wire.Image
		if lines.Decode(&made) != nil {
			return
		}
		b.o.Made(made)
	}
}
