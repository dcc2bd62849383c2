package lab

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// earlierStore is what an earlier release left while containers ran, as in the tests of the store.
const earlierStore = "../internal/store/bolt/testdata/state-v1-containers.db.gz"

// TestEarlierStore starts the engine on the store of an earlier release: all containers, names, links, ports and networks are
// there, can be changed and removed, and a copy of the store is kept for who goes back.
func TestEarlierStore(t *testing.T) {
	engine := needEngine(t)
	h := New(t, Options{Engine: engine}).Host(1)
	r := &rig{h: h, linkspan: filepath.Join(filepath.Dir(engine), "linkspan")}
	ctx, cancel := context.WithTimeout(t.Context(), 3*crashStep)
	defer cancel()
	do := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v\nthe engine wrote at last:\n%s", what, err, lastLines(h.Log(), 40))
		}
	}
	do("put the store in place", unpack(earlierStore, h.file("data/state.db")))
	do("start", h.Start(ctx))
	do("load an image", h.Load(ctx, "busybox"))

	have, err := r.containers(ctx)
	do("look at the containers", err)
	want := []string{"/db", "/friend", "/front", "/gone", "/made", "/multi", "/policy", "/stopped"}
	if got := namesOf(have); !slices.Equal(got, want) {
		t.Fatalf("containers %v, want %v", got, want)
	}
	do("records and sandboxes agree", r.oneStory(ctx, have))
	if link := must(t)(h.Docker(ctx, "inspect", "-f", "{{.HostConfig.Links}}", "front")); link != "[/db:/front/database]" {
		t.Errorf("links %s", link)
	}
	if _, err := h.Docker(ctx, "create", "--name", "made", "busybox", "true"); err == nil || !strings.Contains(err.Error(), `The container name "/made" is already in use`) {
		t.Errorf("a name that is taken: %v", err)
	}
	must(t)(h.Docker(ctx, "rename", "stopped", "renamed"))
	must(t)(h.Docker(ctx, "rm", "--link", "front/database"))
	must(t)(h.Docker(ctx, "network", "connect", "web", "made"))
	must(t)(h.Docker(ctx, "run", "-d", "--name", "fresh", "--network", "web", "busybox", "sleep", "1000"))
	r.runsAgain(ctx, t)

	do("kill", h.Kill(ctx))
	do("start again", h.Start(ctx))
	have, err = r.containers(ctx)
	do("look at the containers again", err)
	want = []string{"/db", "/fresh", "/friend", "/front", "/gone", "/made", "/multi", "/policy", "/renamed"}
	if got := namesOf(have); !slices.Equal(got, want) {
		t.Errorf("containers %v, want %v", got, want)
	}
	do("records and sandboxes still agree", Until(ctx, cleanTime, func() error {
		have, err := r.containers(ctx)
		if err != nil {
			return err
		}
		return r.oneStory(ctx, have)
	}))
	if _, err := os.Stat(h.file("data/state.db.v1")); err != nil {
		t.Errorf("the copy: %v", err)
	}
	must(t)(h.Docker(ctx, append([]string{"rm", "-f"}, namesOf(have)...)...))
	must(t)(h.Docker(ctx, "network", "prune", "-f"))
	do("nothing is left", Until(ctx, 3*cleanTime, func() error { return r.agree(ctx, nil) }))
}

// runsAgain starts a container of before, where the image that it was made of is this machine's too: images of the lab
// are made of the machine's own packages.
func (r *rig) runsAgain(ctx context.Context, t *testing.T) {
	t.Helper()
	theirs := must(t)(r.h.Docker(ctx, "inspect", "-f", "{{.Image}}", "made"))
	if ours := must(t)(r.h.Docker(ctx, "image", "inspect", "-f", "{{.Id}}", "busybox")); ours != theirs {
		t.Logf("containers of before are not started: busybox is %s, theirs was %s", ours, theirs)
		return
	}
	// the store came without the folders of its containers
	id := must(t)(r.h.Docker(ctx, "inspect", "-f", "{{.Id}}", "made"))
	if err := os.MkdirAll(r.h.file("data/containers/"+id), 0o710); err != nil {
		t.Fatal(err)
	}
	must(t)(r.h.Docker(ctx, "start", "made"))
	out := must(t)(r.h.Docker(ctx, "exec", "fresh", "nslookup", "made"))
	if addr := must(t)(r.h.Docker(ctx, "inspect", "-f", "{{.NetworkSettings.Networks.web.IPAddress}}", "made")); !strings.Contains(out, addr) {
		t.Errorf("made has %s and resolves to:\n%s", addr, out)
	}
}

func namesOf(have []inspected) []string {
	var out []string
	for _, c := range have {
		out = append(out, c.Name)
	}
	slices.Sort(out)
	return out
}

// unpack writes a compressed file's content to a file.
func unpack(from, to string) error {
	packed, err := os.Open(from)
	if err != nil {
		return err
	}
	defer packed.Close()
	content, err := gzip.NewReader(packed)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", from, err)
	}
	raw, err := io.ReadAll(content)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", from, err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o711); err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o600)
}
