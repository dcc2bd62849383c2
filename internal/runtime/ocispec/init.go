package ocispec

import (
	"debug/elf"
	"os/exec"
	"path/filepath"

	"github.com/linkspan/linkspan/internal/model"
)

// initNames returns the programs that do for `--init`, the best first: Docker's
// own, and tini, which that is, by the names distributions give it.
func initNames() []string { return []string{"docker-init", "tini-static", "tini"} }

// initFolders returns where Docker's packages put programs that are not for users
// (Filesystem Hierarchy Standard 3.0, 4.7).
func initFolders() []string {
	return []string{"/usr/local/libexec/docker", "/usr/libexec/docker", "/usr/local/lib/docker", "/usr/lib/docker"}
}

// Init returns the path of the program for `--init`; see findInit.
func (h Host) Init() (string, error) { return findInit(h.InitPath) }

// findInit returns the path of the program for `--init`. It looks anew each time:
// who reads the error and installs a package need not restart the daemon. A
// configured absolute path is taken as it is, another name is looked for like
// ours. Error: Invalid, with Docker's words and the way out.
func findInit(configured string) (string, error) {
	if filepath.IsAbs(configured) {
		return configured, nil
	}
	names := initNames()
	if configured != "" {
		names = []string{configured}
	}
	dynamic := ""
	for _, name := range names {
		path, ok := lookInit(name)
		switch {
		case !ok:
		case configured != "" || isStatic(path):
			return path, nil
		case dynamic == "":
			dynamic = path
		}
	}
	const remedy = "install the package tini, or name a statically linked init with --init-path or the key init-path"
	if dynamic != "" {
		return "", model.Errorf(model.Invalid, "exec: %q: executable file not found in $PATH: "+
			"%s needs libraries that containers do not have: %s", names[0], dynamic, remedy)
	}
	return "", model.Errorf(model.Invalid, "exec: %q: executable file not found in $PATH: %s", names[0], remedy)
}

func lookInit(name string) (string, bool) {
	for _, folder := range initFolders() {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path, true
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", false
	}
	path, err = filepath.Abs(path)
	return path, err == nil
}

// isStatic tells whether a program needs no interpreter (elf(5), PT_INTERP), and
// so nothing of the container it is mounted in.
func isStatic(path string) bool {
	file, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}
