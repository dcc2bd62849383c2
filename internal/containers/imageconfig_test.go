package containers

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// hostileImages knows one image, whose configuration its author wrote with care.
type hostileImages struct {
	fakeImages
	config model.ImageConfig
}

// TestImageConfigurationIsChecked: what a user would be refused is dropped or refused of
// an image too.
func TestImageConfigurationIsChecked(t *testing.T) {
	many := func(n int, form string) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf(form, i))
		}
		return out
	}
	labels := map[string]string{}
	for i := range containerspec.MaxImageLabels + 1 {
		labels[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		name    string
		image   model.ImageConfig
		refused string
		check   func(container.Config) bool
	}{
		{"stop signal", model.ImageConfig{StopSignal: "SIGNOPE"}, "", func(c container.Config) bool { return c.StopSignal == "" }},
		{"stop signal 0", model.ImageConfig{StopSignal: "0"}, "", func(c container.Config) bool { return c.StopSignal == "" }},
		{"stop signal 99", model.ImageConfig{StopSignal: "99"}, "", func(c container.Config) bool { return c.StopSignal == "" }},
		{"good stop signal", model.ImageConfig{StopSignal: "SIGRTMIN+3"}, "", func(c container.Config) bool { return c.StopSignal == "SIGRTMIN+3" }},
		{"health check without a pause", model.ImageConfig{Healthcheck: &model.Healthcheck{Test: []string{"CMD", "true"}, Interval: 1, Timeout: 1, StartPeriod: -5, StartInterval: 999, Retries: -1}}, "",
			func(c container.Config) bool {
				h := *c.Healthcheck
				return h.Interval == 0 && h.Timeout == 0 && h.StartPeriod == 0 && h.StartInterval == 0 && h.Retries == 0 && len(h.Test) == 2
			}},
		{"good health check", model.ImageConfig{Healthcheck: &model.Healthcheck{Test: []string{"CMD", "true"}, Interval: time.Millisecond, Retries: 9}}, "",
			func(c container.Config) bool {
				return c.Healthcheck.Interval == time.Millisecond && c.Healthcheck.Retries == 9
			}},
		{"health check of nothing", model.ImageConfig{Healthcheck: &model.Healthcheck{Test: []string{"CMD"}}}, "",
			func(c container.Config) bool { return len(c.Healthcheck.Test) == 0 }},
		{"environment", model.ImageConfig{Env: []string{"", "=x", "A=a\x00b", "B=1", "C"}}, "",
			func(c container.Config) bool { return slices.Equal(c.Env, []string{"B=1", "C"}) }},
		{"ports", model.ImageConfig{ExposedPorts: []string{"80/tcp", "99999/tcp", "x", "80/icmp", ""}}, "",
			func(c container.Config) bool { return len(c.ExposedPorts) == 1 }},
		{"volumes", model.ImageConfig{Volumes: []string{"/", "", "..", "data", "/data/", "/a\x00b"}}, "",
			func(c container.Config) bool { _, ok := c.Volumes["/data"]; return ok && len(c.Volumes) == 1 }},
		{"relative directory", model.ImageConfig{WorkingDir: "../srv/"}, "", func(c container.Config) bool { return c.WorkingDir == "/srv" }},
		{"NUL in the directory", model.ImageConfig{WorkingDir: "/a\x00b"}, "NUL byte", nil},
		{"NUL in the user", model.ImageConfig{User: "web\x00"}, "NUL byte", nil},
		{"NUL in the command", model.ImageConfig{Cmd: []string{"sh", "\x00"}}, "NUL byte", nil},
		{"many volumes", model.ImageConfig{Volumes: many(containerspec.MaxImageVolumes+1, "/v%d")}, "volumes, at most", nil},
		{"many variables", model.ImageConfig{Env: many(containerspec.MaxImageEnv+1, "V%d=")}, "environment variables, at most", nil},
		{"many labels", model.ImageConfig{Labels: labels}, "labels, at most", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			if c.image.Cmd == nil {
				c.image.Cmd = []string{"sh"}
			}
			b.creator.images = hostileImages{config: c.image}
			id, _, err := b.Create(ctx, request("one", nil))
			if c.refused != "" {
				refused(t, err, model.Invalid, c.refused)
				if b.engine.count() != 0 || exists(filepath.Join(b.root, "data", "containers")) {
					t.Error("something was made all the same")
				}
				return
			}
			must(t, err)
			if got := b.inspect(id).Config; !c.check(*got) {
				text, _ := json.Marshal(got)
				t.Errorf("made with %s", text)
			}
		})
	}
}

// TestDamagedImageIsRefused: the error says what to do.
func TestDamagedImageIsRefused(t *testing.T) {
	b := newBench(t)
	b.creator.images = damagedImages{}
	_, _, err := b.Create(ctx, request("one", nil))
	refused(t, err, model.Conflict, "image busybox cannot be read: bad layer\nremove it with docker rmi")
	if b.engine.count() != 0 || exists(filepath.Join(b.root, "data", "containers")) {
		t.Error("something was made all the same")
	}
}

// TestUnstoppable: containers of earlier releases may have what would be dropped today.
func TestUnstoppable(t *testing.T) {
	rec := record{Config: &container.Config{StopSignal: "SIGNOPE"}}
	if sig, _, err := stopTerms(rec, StopOptions{}); err != nil || sig != 15 {
		t.Errorf("stop signal %v, %v; want SIGTERM", sig, err)
	}
	if _, _, err := stopTerms(rec, StopOptions{Signal: "SIGNOPE"}); err == nil || !strings.Contains(err.Error(), "invalid signal") {
		t.Errorf("a user's: %v", err)
	}
}

func (h hostileImages) Find(context.Context, string) (model.Image, error) {
	return model.Image{ID: "sha256:0123456789abcdef", Config: h.config}, nil
}

type damagedImages struct{ fakeImages }

func (damagedImages) Find(context.Context, string) (model.Image, error) {
	return model.Image{ID: "sha256:0123456789abcdef", Damaged: "bad layer"}, nil
}
