package linkspan_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestUninstall takes away what "make install" puts there and nothing beside it.
func TestUninstall(t *testing.T) {
	top := t.TempDir()
	installed := []string{"bin/linkspan", "bin/linkspand", "bin/linkspan-cni", "bin/linkspan-buildkitd", "units/linkspand.service"}
	for _, path := range append([]string{"bin/linkspan-of-mine", "units/other.service"}, installed...) {
		write(t, filepath.Join(top, path), []byte("x"))
	}
	if said := uninstall(t, top, "/bin", "/units", "linkspan", "linkspand", "linkspan-keeper", "linkspan-cni", "linkspan-buildkitd"); said != "" {
		t.Errorf("below a DESTDIR it says %q", said)
	}
	var left []string
	for _, pattern := range []string{"bin/*", "units/*"} {
		paths, _ := filepath.Glob(filepath.Join(top, pattern))
		left = append(left, paths...)
	}
	if want := []string{filepath.Join(top, "bin/linkspan-of-mine"), filepath.Join(top, "units/other.service")}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
}

// TestUninstallStopsNothing: what runs goes on, and the user is told.
func TestUninstallStopsNothing(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	daemon := filepath.Join(top, "bin/linkspand")
	write(t, daemon, program)
	running := exec.Command(daemon)
	in, err := running.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var echo bytes.Buffer
	running.Stdout = &echo
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	said := uninstall(t, "", top+"/bin", top+"/units", "linkspand")
	if want := fmt.Sprintf("left: process %d (linkspand): ", running.Process.Pid); !strings.Contains(said, want) {
		t.Errorf("it says %q, want %q", said, want)
	}
	fmt.Fprint(in, "alive")
	in.Close()
	if err := running.Wait(); err != nil || echo.String() != "alive" {
		t.Errorf("the daemon said %q and ended with %v", &echo, err)
	}
	if _, err := os.Stat(daemon); !os.IsNotExist(err) {
		t.Errorf("the program is still there: %v", err)
	}
}

func uninstall(t *testing.T, args ...string) string {
	t.Helper()
	said, err := exec.Command("build/uninstall.sh", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return string(said)
}

// write makes a program of any kind.
func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
}
