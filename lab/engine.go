package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	startTime = 30 * time.Second // an engine that does not answer by then does not run
	stopTime  = 30 * time.Second // nor has one that is still there by then ended
)

// engine is one run of the daemon.
type engine struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone
	err   error         // how it ended; readable once ended is closed
}

// Start runs the engine on the host with further flags and returns once it answers. The data root survives a Stop or
// a Kill, so that the next Start finds the containers of the last.
func (h *Host) Start(ctx context.Context, flags ...string) error {
	if h.options.Engine == "" {
		return errors.New("this lab was built without an engine")
	}
	if h.running() {
		return fmt.Errorf("%s: an engine is running already", h.Name)
	}
	if err := h.launch(flags); err != nil {
		return fmt.Errorf("%s: start the engine: %w", h.Name, err)
	}
	if err := h.awaitAnswer(ctx); err != nil {
		return fmt.Errorf("%s: the engine did not come up: %w; the end of its log:\n%s", h.Name, err, lastLines(h.Log(), 10))
	}
	return h.remember(ctx)
}

// launch starts the process. A shell writes down its process ID, as the host counts, and becomes the engine.
func (h *Host) launch(flags []string) error {
	path, err := filepath.Abs(h.options.Engine)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(h.file("engine.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	for name, text := range map[string]string{"engine.json": "{}\n", "engine.pid": ""} {
		if err := os.WriteFile(h.file(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(h.file("data"), 0o711); err != nil {
		return err
	}
	_ = os.Remove(h.Socket()) // of an engine that was killed: it would look as if it were there already
	args := append([]string{"sh", "-c", `echo $$ >"$0"; exec "$@"`, h.file("engine.pid"), path,
		"--host=unix://" + h.Socket(), "--data-root=" + h.file("data"), "--exec-root=/run/linkspan",
		"--pidfile=/run/linkspan.pid", "--config-file=" + h.file("engine.json")}, h.backend(flags)...)
	cmd := h.Command(context.Background(), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
	cmd.Env = append(cmd.Env, h.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	h.engine = &engine{cmd: cmd, ended: make(chan struct{})}
	go func(e *engine) {
		e.err = e.cmd.Wait()
		close(e.ended)
	}(h.engine)
	return nil
}

// backend puts the lab's firewall backend before the flags, unless they name one.
func (h *Host) backend(flags []string) []string {
	const flag = "--firewall-backend="
	if h.options.Firewall == "" || slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, flag) }) {
		return flags
	}
	return append([]string{flag + h.options.Firewall}, flags...)
}

// awaitAnswer waits for the first answer to /_ping, or for the end of the engine.
func (h *Host) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	go func(e *engine) {
		select {
		case <-e.ended:
			cancel()
		case <-ctx.Done():
		}
	}(h.engine)
	err := Until(ctx, startTime, func() error { return h.ping(ctx) })
	if err != nil && !h.running() {
		return fmt.Errorf("it ended: %v", h.engine.err)
	}
	return err
}

// ping asks the engine whether it serves.
func (h *Host) ping(ctx context.Context) error {
	var dialer net.Dialer
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", h.Socket())
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("_ping: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("_ping: %s: %q", answer.Status, body)
	}
	return nil
}

// Stop ends the engine as an administrator does (SIGTERM) and waits for its end. Its containers may live on.
func (h *Host) Stop(ctx context.Context) error { return h.end(ctx, "TERM") }

// Kill ends the engine without a chance to tidy up (SIGKILL) and waits for its end. Its containers live on.
func (h *Host) Kill(ctx context.Context) error { return h.end(ctx, "KILL") }

// end sends the engine a signal and waits until it is gone.
func (h *Host) end(ctx context.Context, signal string) error {
	if !h.running() {
		return fmt.Errorf("%s: no engine is running", h.Name)
	}
	pid, err := os.ReadFile(h.file("engine.pid"))
	if err != nil {
		return err
	}
	if _, err := h.Run(ctx, "kill", "-"+signal, strings.TrimSpace(string(pid))); err != nil {
		return err
	}
	limit := time.NewTimer(stopTime)
	defer limit.Stop()
	select {
	case <-h.engine.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
		return fmt.Errorf("%s: the engine is still there %s after SIG%s", h.Name, stopTime, signal)
	}
}

// running says whether an engine was started and has not ended.
func (h *Host) running() bool {
	if h.engine == nil {
		return false
	}
	select {
	case <-h.engine.ended:
		return false
	default:
		return true
	}
}

// Log is everything that the host's engines wrote, the first one's output first.
func (h *Host) Log() string {
	text, err := os.ReadFile(h.file("engine.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// lastLines are the last n lines of text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
