package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// write makes a tar file of empty files, folders (names ending in /) and a few bytes each.
func write(t *testing.T, path string, names ...string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := tar.NewWriter(file)
	for _, name := range names {
		header := tar.Header{Name: name, Mode: 0o755, Uid: 7, Typeflag: tar.TypeDir}
		if name[len(name)-1] != '/' {
			header.Typeflag, header.Size = tar.TypeReg, 3
		}
		if err := archive.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if header.Size > 0 {
			if _, err := io.WriteString(archive, "abc"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

// contents maps the names in a tar file to what the files hold; a name that is there twice fails the test.
func contents(t *testing.T, path string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := eachEntry(path, func(name string, header *tar.Header, content io.Reader) error {
		if _, twice := found[name]; twice {
			t.Errorf("%s is in %s twice", name, path)
		}
		if header.Uid != 0 {
			t.Errorf("%s belongs to %d", name, header.Uid)
		}
		text, err := io.ReadAll(content)
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLayerAndArchive(t *testing.T) {
	dir := t.TempDir()
	unpacked, layer, archive := filepath.Join(dir, "u.tar"), filepath.Join(dir, "l.tar"), filepath.Join(dir, "a.tar")
	write(t, unpacked, "./", "./etc/", "./etc/motd", "./etc/passwd", "./usr/share/doc/", "./usr/share/doc/x", "./usr/bin/perl5.36", "./usr/bin/curl")
	r := recipe{
		tags: []string{"a:latest"}, files: map[string]string{"etc/motd": "hello"}, links: map[string]string{"bin/sh": "dash"},
		run: runConfig{Cmd: []string{"sh"}},
	}
	additions, err := r.additions(t.Context(), unpacked, dir)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := writeLayer(unpacked, additions, layer)
	if err != nil {
		t.Fatal(err)
	}
	files := contents(t, layer)
	if files["etc/motd"] != "hello" || files["usr/bin/curl"] != "abc" {
		t.Errorf("the layer has %q", files)
	}
	for _, name := range []string{"usr/share/doc", "usr/share/doc/x", "usr/bin/perl5.36"} {
		if _, there := files[name]; there {
			t.Errorf("%s is in the layer", name)
		}
	}
	if err := writeArchive(archive, layer, digest, r); err != nil {
		t.Fatal(err)
	}
	checkArchive(t, contents(t, archive), digest)
}

// checkArchive holds the parts of an archive against each other: everything is named by its digest.
func checkArchive(t *testing.T, files map[string]string, digest string) {
	t.Helper()
	var manifest []manifestEntry
	if err := json.Unmarshal([]byte(files["manifest.json"]), &manifest); err != nil {
		t.Fatal(err)
	}
	var config imageConfig
	if err := json.Unmarshal([]byte(files[manifest[0].Config]), &config); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(files[manifest[0].Layers[0]]))
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest || config.RootFS.DiffIDs[0] != digest {
		t.Errorf("layer %s, digest %s, diff ID %s: all three should be the same", got, digest, config.RootFS.DiffIDs[0])
	}
	if manifest[0].RepoTags[0] != "a:latest" || config.Config.Cmd[0] != "sh" || config.OS != "linux" {
		t.Errorf("manifest %+v, configuration %+v", manifest, config)
	}
}

func TestEqualInputGivesEqualLayers(t *testing.T) {
	dir := t.TempDir()
	unpacked := filepath.Join(dir, "u.tar")
	write(t, unpacked, "./etc/", "./etc/x", "./usr/")
	var digests [2]string
	for i := range digests {
		additions, err := (recipe{}).additions(t.Context(), unpacked, dir)
		if err != nil {
			t.Fatal(err)
		}
		if digests[i], err = writeLayer(unpacked, additions, filepath.Join(dir, "l.tar")); err != nil {
			t.Fatal(err)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("%s and %s", digests[0], digests[1])
	}
}

func TestEnsureKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "busybox.tar")
	if err := os.WriteFile(path, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Ensure(t.Context(), dir, "busybox")
	if err != nil || got != path {
		t.Fatalf("Ensure = %q, %v", got, err)
	}
	if text, _ := os.ReadFile(path); string(text) != "kept" {
		t.Errorf("the archive was replaced: %q", text)
	}
	if _, err := Ensure(t.Context(), dir, "nonsense"); err == nil {
		t.Error("an unknown image was built")
	}
}

func TestUnwanted(t *testing.T) {
	for name, want := range map[string]bool{
		"": true, "dev": false, "dev/null": true, "usr/share/doc": true, "usr/share/doc/a/b": true, "usr/share/docs": false,
		"usr/lib/x86_64-linux-gnu/perl/5.36": true, "usr/lib/x86_64-linux-gnu/libc.so.6": false, "usr/bin/perl": true,
	} {
		if got := unwanted(name); got != want {
			t.Errorf("unwanted(%q) = %t", name, got)
		}
	}
}
