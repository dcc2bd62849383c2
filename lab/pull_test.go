package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pullMoments is how many moments of a pull the engine is killed at.
const pullMoments = 20

// TestCrashInAPull kills the engine at many moments of a pull, and starts it again. Each time the image is not there, or
// whole; the next pull goes on where it was; and when the image is there at last, no lease is left.
func TestCrashInAPull(t *testing.T) {
	l := New(t, Options{Engine: needEngine(t)})
	h := l.Host(1)
	r := &rig{h: h}
	ctx, cancel := context.WithTimeout(t.Context(), 10*crashStep)
	defer cancel()
	asked := serveFoul(ctx, t, l)
	image := worldAddr4 + ":5000/x:slow"
	flag := "--insecure-registry=" + worldAddr4 + ":5000"
	killed := 0
	for moment := range pullMoments {
		must0(t, h.Start(ctx, flag))
		dropIfWhole(ctx, t, h, image)
		pull, err := h.DockerCommand(ctx, "pull", "-q", image)
		must0(t, err)
		must0(t, pull.Start())
		ended := make(chan error, 1)
		go func() { ended <- pull.Wait() }()
		// The layer takes three seconds: so the moments lie in all that a pull does, and in what follows it.
		timer := time.NewTimer(time.Duration(moment) * 160 * time.Millisecond)
		select {
		case <-timer.C:
			killed++
		case err := <-ended:
			must0(t, err)
			ended <- nil
		}
		must0(t, h.Kill(ctx))
		<-ended
	}
	must0(t, h.Start(ctx, flag))
	must(t)(h.Docker(ctx, "pull", image))
	must(t)(h.Docker(ctx, "image", "inspect", image))
	if killed < pullMoments/4 {
		t.Errorf("only %d of %d pulls were broken off", killed, pullMoments)
	}
	if log, err := os.ReadFile(asked); err != nil || !bytes.Contains(log, []byte(" bytes=")) {
		t.Errorf("no pull has gone on where it was: %v\n%.2000s", err, log)
	}
	err := Until(ctx, cleanTime, func() error {
		left, err := r.ctr(ctx, "leases", "ls", "-q")
		if len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("leases: %v", left))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	must(t)(h.Docker(ctx, "rmi", image))
}

// dropIfWhole removes the image if it is there, and fails the test if it is not all there.
func dropIfWhole(ctx context.Context, t *testing.T, h *Host, image string) {
	t.Helper()
	if must(t)(h.Docker(ctx, "images", "-aq")) == "" {
		return
	}
	must(t)(h.Docker(ctx, "save", "-o", filepath.Join(t.TempDir(), "image.tar"), image))
	must(t)(h.Docker(ctx, "rmi", image))
}

// serveFoul starts the registry that misbehaves in the outside world, and returns the file that has what it is asked.
func serveFoul(ctx context.Context, t *testing.T, l *Lab) (asked string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "foulregistry")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-o", program, "./cmd/foulregistry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the registry: %v\n%s", err, out)
	}
	asked = filepath.Join(t.TempDir(), "asked")
	log, err := os.Create(asked)
	must0(t, err)
	serve := l.World().Command(ctx, program, worldAddr4+":5000")
	serve.Stdout = log
	must0(t, serve.Start())
	t.Cleanup(func() {
		_ = serve.Cancel()
		_ = serve.Wait()
		_ = log.Close()
	})
	err = Until(ctx, crashStep, func() error {
		out, err := l.World().Run(ctx, "curl", "-sf", "http://"+worldAddr4+":5000/v2/")
		if err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
		}
		return nil
	})
	must0(t, err)
	return asked
}

// must0 ends the test on an error.
func must0(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
