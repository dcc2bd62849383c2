package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// addition is a file, a folder or a link that no package brings. Additions replace what a package has of that name.
type addition struct {
	header tar.Header
	text   string
}

// built is the time all files of an image have, so that equal packages give equal images.
func built() time.Time { return time.Unix(0, 0) }

// additions are what the recipe adds to its packages, by name.
func (r recipe) additions(ctx context.Context, unpacked, work string) (map[string]addition, error) {
	all := make(map[string]addition)
	folder := func(name string, mode int64) {
		all[name] = addition{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode}}
	}
	file := func(name, text string) {
		all[name] = addition{header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}, text: text}
	}
	link := func(name, target string) {
		all[name] = addition{header: tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: target}}
	}
	for _, name := range append([]string{"proc", "sys", "dev", "run", "root", "var/log", "var/lib"}, r.dirs...) {
		folder(name, 0o755)
	}
	folder("tmp", 0o1777)
	file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nnobody:x:65534:65534::/:/bin/false\n")
	file("etc/group", "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n")
	for name, text := range r.files {
		file(name, text)
	}
	for name, target := range r.links {
		link(name, target)
	}
	if !r.applets {
		return all, nil
	}
	applets, err := applets(ctx, unpacked, work)
	for _, name := range applets {
		link("bin/"+name, "busybox")
	}
	return all, err
}

// applets asks the busybox in the tar file for the names it answers to, other than its own.
func applets(ctx context.Context, unpacked, work string) ([]string, error) {
	program := filepath.Join(work, "busybox")
	err := eachEntry(unpacked, func(name string, _ *tar.Header, content io.Reader) error {
		if name != "bin/busybox" && name != "usr/bin/busybox" {
			return nil
		}
		text, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		return os.WriteFile(program, text, 0o755)
	})
	if err != nil {
		return nil, err
	}
	out, err := output(exec.CommandContext(ctx, program, "--list"))
	return slices.DeleteFunc(strings.Fields(out), func(name string) bool { return name == "busybox" }), err
}

// writeLayer copies what is wanted of the unpacked packages, and the additions, to the tar file at target, and returns
// its digest.
func writeLayer(unpacked string, additions map[string]addition, target string) (string, error) {
	file, err := os.Create(target)
	if err != nil {
		return "", err
	}
	defer file.Close()
	digest := sha256.New()
	layer := tar.NewWriter(io.MultiWriter(file, digest))
	err = eachEntry(unpacked, func(name string, header *tar.Header, content io.Reader) error {
		if _, replaced := additions[name]; replaced || unwanted(name) {
			return nil
		}
		return put(layer, name, *header, content)
	})
	for _, name := range slices.Sorted(maps.Keys(additions)) {
		a := additions[name]
		err = errors.Join(err, put(layer, name, a.header, strings.NewReader(a.text)))
	}
	if err := errors.Join(err, layer.Close(), file.Close()); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil)), nil
}

// put writes one entry, owned by root and without a date.
func put(layer *tar.Writer, name string, header tar.Header, content io.Reader) error {
	clean := tar.Header{
		Typeflag: header.Typeflag, Name: name, Linkname: strings.TrimPrefix(header.Linkname, "./"),
		Mode: header.Mode, Size: header.Size, ModTime: built(),
	}
	if header.Typeflag == tar.TypeDir {
		clean.Name += "/"
	}
	if err := layer.WriteHeader(&clean); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err := io.Copy(layer, content)
	return err
}

// unwanted are files that no container of a test needs: documentation, locales, the package system itself, perl, which
// much depends on and nothing here uses, and what an engine puts there anyway.
func unwanted(name string) bool {
	if name == "" {
		return true
	}
	for _, pattern := range []string{
		"dev/*", "var/lib/dpkg", "var/lib/apt", "var/cache", "etc/apt", "etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/fstab",
		"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bash-completion",
		"usr/share/icu", "usr/share/perl*", "usr/bin/perl*", "usr/lib/*/perl*", "usr/share/*/perl*", "usr/lib/*/libperl.so*", "usr/lib/*/gconv",
	} {
		if matchesBranch(pattern, name) {
			return true
		}
	}
	return false
}

// matchesBranch says whether name or a folder above it matches the pattern.
func matchesBranch(pattern, name string) bool {
	depth := strings.Count(pattern, "/") + 1
	parts := strings.Split(name, "/")
	if len(parts) < depth {
		return false
	}
	matched, err := path.Match(pattern, strings.Join(parts[:depth], "/"))
	return err == nil && matched
}

// eachEntry calls visit for the entries of a tar file, with their names cleaned of a leading "./".
func eachEntry(path string, visit func(name string, header *tar.Header, content io.Reader) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(cleanName(header.Name), header, archive); err != nil {
			return err
		}
	}
}

// cleanName is name relative to the root: "./bin/" becomes "bin".
func cleanName(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

// digestOf is the SHA-256 of text in hex.
func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
