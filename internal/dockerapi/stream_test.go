package dockerapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/model"
)

// patience is how long a test waits for what comes at once if it comes at all.
const patience = 10 * time.Second

// dial sends a request on a connection of its own and reads the answer's head.
func dial(t *testing.T, b *bench, request string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, in, answer
}

const upgrade = "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"

// echo writes to both streams, then what it reads to standard output.
func echo(_ context.Context, s containerhub.Streams) error {
	if _, err := io.WriteString(s.Stderr, "careful\n"); err != nil {
		return err
	}
	if _, err := io.WriteString(s.Stdout, "ready\n"); err != nil {
		return err
	}
	_, err := io.Copy(s.Stdout, s.Stdin)
	return err
}

func TestAttach(t *testing.T) {
	for _, c := range []struct {
		name, version, headers string
		tty                    bool
		status                 int
		kind                   string
	}{
		{"upgrade", "1.50", upgrade, false, 101, "application/vnd.docker.multiplexed-stream"},
		{"upgrade, terminal", "1.50", upgrade, true, 101, "application/vnd.docker.raw-stream"},
		{"upgrade, old", "1.41", upgrade, false, 101, "application/vnd.docker.raw-stream"},
		{"without upgrade", "1.50", "Host: x\r\n", false, 200, "application/vnd.docker.raw-stream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.tty = c.tty
			b.output = echo
			conn, in, answer := dial(t, b, "POST /v"+c.version+"/containers/c1/attach?stream=1&stdin=1&stdout=1&stderr=1&detachKeys=ctrl-x HTTP/1.1\r\n"+c.headers+"\r\n")
			if answer.StatusCode != c.status || answer.Header.Get("Content-Type") != c.kind || answer.Header.Get("Api-Version") != "1.56" {
				t.Fatalf("answered %d %v", answer.StatusCode, answer.Header)
			}
			if up := answer.Header.Get("Upgrade"); (up == "tcp") != (c.status == 101) {
				t.Errorf("Upgrade: %q", up)
			}
			if _, err := io.WriteString(conn, "hello\n"); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil { // the end of the input, not of the output
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			if c.tty {
				if _, err := io.Copy(&stdout, in); err != nil {
					t.Fatal(err)
				}
			} else if _, err := stdcopy.StdCopy(&stdout, &stderr, in); err != nil {
				t.Fatal(err)
			}
			wantOut, wantErr := "ready\nhello\n", "careful\n"
			if c.tty {
				wantOut, wantErr = wantErr+wantOut, ""
			}
			if stdout.String() != wantOut || stderr.String() != wantErr {
				t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
			}
			if got := b.noted(); !strings.Contains(got, "attach c1 {Stdin:true Stdout:true Stderr:true Stream:true Logs:false DetachKeys:ctrl-x Ready:<nil>}") {
				t.Error(got)
			}
		})
	}
}

// TestAttachSilent: the protocol is switched though nothing is said yet, since
// `docker run` starts the container only then.
func TestAttachSilent(t *testing.T) {
	b := newBench(t)
	b.inspect = container.InspectResponse{ID: id("1")}
	start := make(chan struct{})
	b.output = func(context.Context, containerhub.Streams) error { <-start; return nil }
	_, in, answer := dial(t, b, "POST /containers/c1/attach?stream=1&stdout=1 HTTP/1.1\r\n"+upgrade+"\r\n")
	if answer.StatusCode != 101 {
		t.Fatalf("answered %d", answer.StatusCode)
	}
	close(start)
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
}

func TestAttachErrors(t *testing.T) {
	b := newBench(t)
	b.attachFirst = model.Errorf(model.Conflict, "container c1 is paused, unpause the container before attach")
	b.want(t, 409, "is paused, unpause the container before attach", "POST", "/containers/c1/attach?stream=1&stdout=1")
	b.attachFirst = nil
	b.inspect = container.InspectResponse{ID: id("1")}
	b.output = func(context.Context, containerhub.Streams) error { return errors.New("broken pipe") }
	_, in, _ := dial(t, b, "POST /containers/c1/attach?stream=1&stdout=1 HTTP/1.1\r\n"+upgrade+"\r\n")
	var stdout, stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(&stdout, &stderr, in); err != nil || stderr.String() != "Error attaching: broken pipe\r\n" {
		t.Errorf("after the switch: %q %v", stderr.String(), err)
	}
	b.output = func(context.Context, containerhub.Streams) error { return containerhub.ErrDetached }
	_, in, answer := dial(t, b, "POST /containers/c1/attach?stream=1&stdout=1 HTTP/1.1\r\n"+upgrade+"\r\n")
	if rest, err := io.ReadAll(in); answer.StatusCode != 101 || err != nil || len(rest) > 0 {
		t.Errorf("detached: %d %q %v", answer.StatusCode, rest, err)
	}
}

// TestAttachToSlowClient: a client that does not read ends with its connection.
func TestAttachToSlowClient(t *testing.T) {
	b := newBench(t)
	b.inspect = container.InspectResponse{ID: id("1")}
	stuck := make(chan struct{})
	b.output = func(_ context.Context, s containerhub.Streams) error {
		go func() {
			defer close(stuck)
			for {
				if _, err := s.Stdout.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}()
		return errors.New("output was not read fast enough")
	}
	dial(t, b, "POST /containers/c1/attach?stream=1&stdout=1 HTTP/1.1\r\n"+upgrade+"\r\n")
	select {
	case <-stuck:
	case <-time.After(patience):
		t.Fatal("the writer is still stuck")
	}
}

func TestExec(t *testing.T) {
	b := newBench(t)
	b.output = echo
	b.execAbout = container.ExecInspectResponse{OpenStdin: true, OpenStdout: true, OpenStderr: true, DetachKeys: []byte{25}}
	body := `{"Detach":false,"Tty":false}`
	head := "POST /v1.50/exec/e1/start HTTP/1.1\r\n" + upgrade + "Content-Type: application/json\r\nContent-Length: 28\r\n\r\n" + body + "typed with it\n"
	conn, in, answer := dial(t, b, head)
	if answer.StatusCode != 101 {
		t.Fatalf("answered %d", answer.StatusCode)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(&stdout, &stderr, in); err != nil || stdout.String() != "ready\ntyped with it\n" || stderr.String() != "careful\n" {
		t.Errorf("stdout %q, stderr %q, %v", stdout.String(), stderr.String(), err)
	}
	if got := b.noted(); got != "start exec e1 {Detach:false TTY:false Width:0 Height:0 DetachKeys:}" {
		t.Error(got)
	}
}

func TestExecAnswers(t *testing.T) {
	b := newBench(t)
	b.want(t, 200, "", "POST", "/exec/e1/start", `{"Detach":true,"Tty":true,"ConsoleSize":[24,80]}`)
	if got := b.noted(); got != "start exec e1 {Detach:true TTY:true Width:80 Height:24 DetachKeys:}" {
		t.Error(got)
	}
	b.want(t, 400, "console size is only supported when allocating a pseudo-TTY", "POST", "/exec/e1/start", `{"ConsoleSize":[24,80]}`)
	b.execAbout.Running = true
	b.want(t, 409, "exec command e1 is already running", "POST", "/exec/e1/start", `{}`)
	code := 3
	b.execAbout = container.ExecInspectResponse{ExitCode: &code}
	b.want(t, 409, "exec command e1 has already run", "POST", "/exec/e1/start", `{}`)
	b.want(t, 200, `"ExitCode":3`, "GET", "/exec/e1/json")
	b.execAbout, b.execUnready = container.ExecInspectResponse{}, model.Errorf(model.Conflict, "container c1 is paused, unpause the container before exec")
	b.want(t, 409, "container c1 is paused, unpause the container before exec", "POST", "/exec/e1/start", `{}`) // not a stream with words in it
	b.err = model.Errorf(model.NotFound, "No such exec instance: e1")
	b.want(t, 404, "No such exec instance: e1", "POST", "/exec/e1/start", `{}`)
}

func TestExecFailureIsTold(t *testing.T) {
	b := newBench(t)
	b.execAbout = container.ExecInspectResponse{OpenStdout: true}
	b.output = func(context.Context, containerhub.Streams) error { return errors.New(`exec: "nothing": not found`) }
	_, in, answer := dial(t, b, "POST /exec/e1/start HTTP/1.1\r\n"+upgrade+"Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"Tty\":true}")
	rest, err := io.ReadAll(in)
	if answer.StatusCode != 101 || err != nil || string(rest) != "exec: \"nothing\": not found\r\n" {
		t.Errorf("%d %q %v", answer.StatusCode, rest, err)
	}
}

func TestLogs(t *testing.T) {
	b := newBench(t)
	b.output = func(_ context.Context, s containerhub.Streams) error {
		_, err := io.WriteString(s.Stdout, "out\n")
		if err == nil {
			_, err = io.WriteString(s.Stderr, "err\n")
		}
		return err
	}
	w := b.ask("GET", "/containers/c1/logs?stdout=1&stderr=1&timestamps=1&tail=7&since=1136073845.5&until=2026-01-02T00:00:00Z", "")
	var stdout, stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(&stdout, &stderr, w.Body); err != nil || stdout.String() != "out\n" || stderr.String() != "err\n" {
		t.Errorf("%q %q %v", stdout.String(), stderr.String(), err)
	}
	o := b.logs
	if w.Header().Get("Content-Type") != "application/vnd.docker.multiplexed-stream" || !o.Timestamps || o.Tail != 7 ||
		o.Since.UnixNano() != 1136073845500000000 || o.Until.Format(time.RFC3339) != "2026-01-02T00:00:00Z" {
		t.Errorf("%v %+v", w.Header(), o)
	}
	b.tty = true
	w = b.ask("GET", "/v1.41/containers/c1/logs?stdout=1&tail=all", "")
	if w.Body.String() != "out\nerr\n" || b.logs.Tail != -1 || w.Header().Get("Content-Type") != "application/vnd.docker.raw-stream" {
		t.Errorf("terminal: %q %+v %v", w.Body, b.logs, w.Header())
	}
}

func TestLogsErrors(t *testing.T) {
	b := newBench(t)
	b.want(t, 400, "Bad parameters: you must choose at least one stream", "GET", "/containers/c1/logs")
	b.want(t, 400, `invalid value for \"since\": failed to parse value as time or duration: invalid seconds \"once\": invalid syntax`, "GET", "/containers/c1/logs?stdout=1&since=once")
	b.output = func(_ context.Context, s containerhub.Streams) error {
		return model.Errorf(model.NotImplemented, "configured logging driver does not support reading")
	}
	b.want(t, 501, "configured logging driver does not support reading", "GET", "/containers/c1/logs?stdout=1")
	b.want(t, 200, "Error grabbing logs: configured logging driver does not support reading\n", "GET", "/containers/c1/logs?stdout=1&follow=1")
	b.output = nil
	b.want(t, 200, "", "GET", "/containers/c1/logs?stdout=1")
}

// TestFollowIsAnsweredAtOnce: the head comes before the first line does.
func TestFollowIsAnsweredAtOnce(t *testing.T) {
	b := newBench(t)
	speak := make(chan struct{})
	b.output = func(_ context.Context, s containerhub.Streams) error {
		<-speak
		_, err := io.WriteString(s.Stdout, "late\n")
		return err
	}
	b.tty = true
	_, _, answer := dial(t, b, "GET /containers/c1/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	close(speak)
	if rest, err := io.ReadAll(answer.Body); answer.StatusCode != 200 || err != nil || string(rest) != "late\n" {
		t.Errorf("%d %q %v", answer.StatusCode, rest, err)
	}
}

func TestWait(t *testing.T) {
	b := newBench(t)
	b.waiting = make(chan container.WaitResponse)
	_, _, answer := dial(t, b, "POST /v1.50/containers/c1/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	if answer.StatusCode != 200 || b.noted() != "wait c1 next-exit" { // and only now the container ends
		t.Fatalf("%d, %s", answer.StatusCode, b.noted())
	}
	b.waiting <- container.WaitResponse{StatusCode: 137}
	if rest, err := io.ReadAll(answer.Body); err != nil || string(rest) != "{\"StatusCode\":137}\n" {
		t.Errorf("%q %v", rest, err)
	}
	b.err = model.Errorf(model.NotFound, "No such container: c1")
	b.want(t, 404, "No such container: c1", "POST", "/containers/c1/wait")
}
