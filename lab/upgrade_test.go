package lab

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// earlierStore is what an earlier release left of running and stopped containers, with links, published ports and
// several networks. In it are the data root and the image of the host on which that was.
const (
	earlierStore = "../internal/store/bolt/testdata/state-v1-containers.db.gz"
	earlierRoot  = "/var/lib/linkspan"
	earlierImage = "sha256:9a7f79da447a7a96e4554af400644c0bd1514e5ad3a81f3f2427ce42ed01dc94"
)

// TestUpgradeOfStore boots a host on what an earlier release left: networks and containers are what they were, and run again.
func TestUpgradeOfStore(t *testing.T) {
	engine := needEngine(t)
	l := New(t, Options{Engine: engine})
	h := l.Host(1)
	r := &rig{h: h, linkspan: filepath.Join(filepath.Dir(engine), "linkspan")}
	ctx := t.Context()
	defer func() {
		if t.Failed() {
			t.Logf("the engine wrote at last:\n%s", lastLines(h.Log(), 40))
		}
	}()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	docker := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(must(t)(h.Docker(ctx, args...)))
	}
	r.prepareBoth(t)
	do(h.Start(ctx))
	image := docker("image", "inspect", "-f", "{{.Id}}", "busybox")
	do(h.Stop(ctx))
	do(writeEarlierStore(h.file("data"), image))
	do(l.Reboot(ctx, h))
	do(h.Start(ctx))

	// What front is linked to does not run, so that its restart policy goes on trying.
	do(Until(ctx, 2*cleanTime, func() error {
		return wantLines(docker("ps", "-a", "--format", "{{.Names}} {{.State}}"), "db exited", "friend exited", "front restarting", "gone exited",
			"made created", "multi exited", "policy running", "stopped exited")
	}))
	do(wantLines(docker("network", "ls", "--format", "{{.Name}} {{.Driver}}"), "back bridge", "bridge bridge", "host host", "inner bridge", "none null", "web bridge"))
	for _, name := range []string{"db", "made", "multi", "friend", "stopped"} { // friend has multi's network
		docker("start", name)
	}
	do(Until(ctx, 3*cleanTime, func() error { return wantLines(docker("inspect", "-f", "{{.State.Status}}", "front"), "running") }))
	const addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
	for name, want := range map[string]string{"multi": "10.77.0.9 172.19.0.2 172.18.0.9", "made": "10.77.0.20"} {
		if got := docker("inspect", "-f", addresses, name); got != want {
			t.Errorf("%s has the addresses %s, want %s", name, got, want)
		}
	}
	do(wantLines(docker("port", "front", "80/tcp"), "0.0.0.0:8080", "[::]:8080"))
	do(wantLines(docker("port", "front", "9019/udp"), "0.0.0.0:9019", "[::]:9019"))
	do(wantLines(docker("port", "multi"), "443/tcp -> 127.0.0.1:8443"))
	docker("exec", "front", "ping", "-c", "1", "-W", "2", "database")
	docker("exec", "policy", "ping", "-c", "1", "-W", "2", "m")
	docker("exec", "friend", "ping", "-c", "1", "-W", "2", "made")

	// Records and sandboxes tell one story, also after changes and a kill. What was there before is kept for who goes back.
	_, err := h.Docker(ctx, "create", "--name", "gone", "busybox", "true")
	if err == nil || !strings.Contains(err.Error(), `The container name "/gone" is already in use`) {
		t.Errorf("a name that is taken: %v", err)
	}
	docker("rename", "stopped", "renamed")
	docker("rm", "--link", "front/database")
	if links := docker("inspect", "-f", "{{.HostConfig.Links}}", "front"); links != "[]" {
		t.Errorf("links %s", links)
	}
	do(h.Kill(ctx))
	do(h.Start(ctx))
	do(Until(ctx, cleanTime, func() error {
		have, err := r.containers(ctx)
		if err != nil {
			return err
		}
		return r.oneStory(ctx, have)
	}))
	if _, err := os.Stat(h.file("data/state.db.v1")); err != nil {
		t.Errorf("the copy of the store: %v", err)
	}

	docker("rm", "-f", "-v", "db", "friend", "front", "gone", "made", "multi", "policy", "renamed")
	docker("network", "rm", "web", "back", "inner")
	// The rules are those of the other store, not the ones that the host is remembered by.
	do(Until(ctx, 3*cleanTime, func() error {
		return errors.Join(h.noVeth(ctx), h.noNamespaces(ctx), h.noFifos(ctx), h.noExtraMounts(ctx), h.noContainerCgroups(ctx), r.agree(ctx, nil))
	}))
}

// wantLines compares lines in any order.
func wantLines(got string, want ...string) error {
	have := lines(got)
	slices.Sort(have)
	if !slices.Equal(have, want) {
		return errors.New("there is\n" + strings.Join(have, "\n") + "\nand should be\n" + strings.Join(want, "\n"))
	}
	return nil
}

// writeEarlierStore puts the store and the folders of its containers into a data root, as if they had been made there of
// this image.
func writeEarlierStore(root, image string) error {
	packed, err := os.Open(earlierStore)
	if err != nil {
		return err
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(unpacked)
	if err != nil {
		return err
	}
	path := filepath.Join(root, "state.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return err
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		containers := tx.Bucket([]byte("containers"))
		return containers.ForEach(func(id, record []byte) error {
			record = bytes.ReplaceAll(record, []byte(earlierRoot), []byte(root))
			record = bytes.ReplaceAll(record, []byte(earlierImage), []byte(image))
			return errors.Join(containers.Put(id, record), os.MkdirAll(filepath.Join(root, "containers", string(id)), 0o710),
				os.MkdirAll(filepath.Join(root, "volumes", "data", "_data"), 0o755))
		})
	})
	return errors.Join(err, db.Close())
}
