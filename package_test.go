package linkspan_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stand is a folder with small programs in place of ours, and a go command that "builds" what writes manual pages.
func stand(t *testing.T) (bin, goCommand string) {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip(err)
	}
	bin = t.TempDir()
	for _, program := range []string{"linkspan", "linkspand", "linkspan-keeper", "linkspan-cni", "linkspan-buildkitd"} {
		write(t, filepath.Join(bin, program), []byte("#!/bin/sh\necho \"$0 $*\" | sed 's|.*/||'\n"))
	}
	goCommand = filepath.Join(bin, "go")
	write(t, goCommand, []byte("#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\nprintf '#!/bin/sh\\nmkdir -p \"$1/man8\"; echo \"$2 $3\" >\"$1/man8/linkspand.8\"\\n' >\"$2\"\nchmod 755 \"$2\"\n"))
	return bin, goCommand
}

// makePackage runs package.sh, with further settings of the environment, and returns the package.
func makePackage(t *testing.T, bin, goCommand string, settings ...string) string {
	t.Helper()
	c := exec.Command("build/deb/package.sh", bin, "v1-2-gabc")
	c.Env = append(os.Environ(), append([]string{"GO=" + goCommand, "SOURCE_DATE_EPOCH=1700000000"}, settings...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestPackageIsReproducible: the same programs make the same bytes, whoever makes them, when and where.
func TestPackageIsReproducible(t *testing.T) {
	bin, goCommand := stand(t)
	first := makePackage(t, bin, goCommand)
	if want := filepath.Join(bin, "linkspan_0~20231114221320+v1.2.gabc_"); !strings.HasPrefix(first, want) {
		t.Errorf("the package is %s, want %s…", first, want)
	}
	one, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	second := makePackage(t, bin, goCommand, "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "HOME=/nowhere", "LINKSPAN_SOCKET=/elsewhere", "TMPDIR="+t.TempDir())
	two, err := os.ReadFile(second)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("%d and %d bytes, which differ (%v)", len(one), len(two), err)
	}
}

// TestPackageHasAll: what is in it, whose it is, and that nothing of a template is left.
func TestPackageHasAll(t *testing.T) {
	bin, goCommand := stand(t)
	path := makePackage(t, bin, goCommand, "DEB_VERSION=1.0-1")
	list, err := exec.Command("dpkg-deb", "--contents", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"-rwxr-xr-x root/root", "./usr/bin/linkspand\n", "./usr/bin/linkspan-keeper\n", "./usr/bin/linkspan-buildkitd\n", "./usr/lib/cni/linkspan-cni -> ../../bin/linkspan-cni\n",
		"./usr/lib/systemd/system/linkspand.service\n", "./usr/lib/systemd/system/linkspand.socket\n", "./etc/default/linkspan\n", "./usr/share/man/man8/linkspand.8.gz\n",
		"./usr/share/bash-completion/completions/linkspan\n", "./usr/share/zsh/vendor-completions/_linkspan\n", "./usr/share/fish/vendor_completions.d/linkspan.fish\n",
	} {
		if !strings.Contains(string(list), want) {
			t.Errorf("no %q in\n%s", want, list)
		}
	}
	for line := range strings.Lines(string(list)) {
		if !strings.Contains(line, " root/root ") {
			t.Errorf("somebody else's: %s", line)
		}
	}
	top := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "--raw-extract", path, top).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for file, want := range map[string]string{
		"DEBIAN/control":                                 "\nVersion: 1.0-1\n",
		"DEBIAN/conffiles":                               "/etc/default/linkspan\n",
		"usr/lib/systemd/system/linkspand.service":       "ExecStart=/usr/bin/linkspand -H fd:// --containerd=/run/containerd/containerd.sock $LINKSPAND_OPTS\nSockets=linkspand.socket\n",
		"usr/share/bash-completion/completions/linkspan": "linkspan completion bash\n",
	} {
		text := read(t, filepath.Join(top, file))
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%s", file, want, text)
		}
		if strings.Contains(text, "@") && file != "DEBIAN/control" {
			t.Errorf("%s has something of its template:\n%s", file, text)
		}
	}
}

// TestInstalledUnit: "make install" has the same unit without systemd's socket.
func TestInstalledUnit(t *testing.T) {
	text := read(t, "Makefile")
	_, rest, _ := strings.Cut(text, "\tsed -e '")
	script, _, found := strings.Cut(rest, "' build/linkspand.service")
	if !found {
		t.Fatal("make install makes the unit otherwise now")
	}
	out, err := exec.Command("sed", "-e", strings.ReplaceAll(script, "$(PREFIX)", "/opt"), "build/linkspand.service").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "\nExecStart=/opt/bin/linkspand --containerd=/run/containerd/containerd.sock $LINKSPAND_OPTS\nExecReload="; !strings.Contains(string(out), want) || strings.Contains(string(out), "@") {
		t.Errorf("no %q in\n%s", want, out)
	}
}
