package containerd

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/linkspan/linkspan/internal/model"
)

// TestWords holds what containerd, its shims and runc say to what it is taken for. The
// texts are theirs.
func TestWords(t *testing.T) {
	kinds := map[string]func(error) bool{"ended": saysEnded, "paused": SaysPaused, "may have ended": SaysMayHaveEnded,
		"task exists": SaysTaskExists, "bundle gone": SaysBundleGone, "layer exists": SaysLayerExists, "bad archive": SaysBadArchive}
	for text, want := range map[string][]string{
		"cannot exec in a stopped state":    {"ended"},
		"cannot exec in a deleted state":    {"ended"},
		"cannot resize a stopped container": {"ended"},
		"cannot resize a deleted process":   {"ended"},
		"cannot exec in a paused state":     {"paused"},
		"ttrpc: closed":                     {"may have ended"},
		"OCI runtime exec failed: exec failed: unable to start container process: error writing config to pipe: write init-p: broken pipe":               {"may have ended"},
		"OCI runtime exec failed: exec failed: unable to create new parent process: namespace path: lstat /proc/35708/ns/ipc: no such file or directory": {"may have ended"},
		"OCI runtime exec failed: exec failed: unable to start container process: error executing setns process: exit status 1":                          {"may have ended"},
		"runc did not terminate successfully: exit status 1: read init-p: connection reset by peer":                                                      {"may have ended"},
		"OCI runtime exec failed: exec failed: unable to start container process: read init-p: EOF":                                                      {"may have ended"},
		"OCI runtime pause failed: container not running":                                                                                                {"may have ended"},
		"OCI runtime resume failed: container not paused":                                                                                                {"may have ended"},
		"OCI runtime pause failed: unable to freeze":                                                                                                     {"may have ended"},
		"task 0a1b2c: already exists": {"task exists"},
		"OCI runtime create failed: runc create failed: container with given ID already exists":                                                                                                                         {"task exists"},
		"mkdir /run/linkspan/containerd/state/io.containerd.runtime.v2.task/linkspan/0a1b2c: file exists":                                                                                                               {"task exists", "layer exists"},
		"failed to rename: rename /var/lib/linkspan/containerd/root/snapshots/new-1 /var/lib/linkspan/containerd/root/snapshots/7: file exists":                                                                         {"task exists", "layer exists"},
		"failed to start shim: start failed: io.containerd.runc.v2: rename /x/linkspan/0a1b2c/.address /x/linkspan/0a1b2c/address: no such file or directory: exit status 1":                                            {"bundle gone"},
		"failed to start shim: start failed: io.containerd.runc.v2: fork/exec /usr/bin/containerd-shim-runc-v2: no such file or directory: exit status 1":                                                               {"bundle gone"},
		"failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error (open /x/linkspan/0a1b2c/log.json: no such file or directory): runc did not terminate successfully: exit status 1": {"bundle gone"},
		"failed to create shim task: mkdir /x/linkspan/0a1b2c/rootfs: no such file or directory: not found":                                                                                                             {"bundle gone"},
		"archive/tar: invalid tar header":                                      {"bad archive"},
		"unexpected EOF":                                                       {"bad archive", "may have ended"},
		"unrecognized image format":                                            {"bad archive"},
		"mismatched image rootfs and manifest layers":                          {"bad archive"},
		"wrong diff id calculated on extraction \"sha256:0a\"":                 {"bad archive"},
		"invalid reference format":                                             {"bad archive"},
		"failed to resolve layers: content digest sha256:0a: not found":        {"bad archive"},
		"failed to extract layer sha256:0a: exit status 1":                     {"bad archive"},
		"failed to extract layer sha256:0a: write /x: no space left on device": nil,
		"context deadline exceeded":                                            nil,
		`exec: "x": executable file not found in $PATH`:                        nil,
	} {
		for kind, is := range kinds {
			if got := is(errors.New(text)); got != slices.Contains(want, kind) {
				t.Errorf("%s: %s is %t", text, kind, got)
			}
		}
	}
	for kind, is := range kinds {
		if is(nil) {
			t.Errorf("no error is taken for %s", kind)
		}
	}
}

func TestStartCode(t *testing.T) {
	for text, want := range map[string]int{
		`OCI runtime exec failed: exec failed: unable to start container process: exec: "x": executable file not found in $PATH`: 127,
		`runc create failed: unable to start container process: exec: "/nope": stat /nope: no such file or directory`:            127,
		`OCI runtime exec failed: exec failed: unable to start container process: exec: "/etc": permission denied`:               126,
		`runc create failed: unable to start container process: exec: "/etc": is a directory`:                                    126,
		`runc create failed: unable to start container process: error mounting "/a" to rootfs at "/b": not a directory: exec`:    127,
		`exec /x: exec format error`:          126,
		`open /etc/passwd: permission denied`: 0,
		`something else`:                      0,
	} {
		code, ok := StartCode(errors.New(text))
		if code != want || ok != (want != 0) {
			t.Errorf("%s: %d %t, want %d", text, code, ok, want)
		}
	}
	if _, ok := StartCode(nil); ok {
		t.Error("no error has a code")
	}
}

// TestWhatEndedIsNotFound: a shim tells in words only that a process has ended.
func TestWhatEndedIsNotFound(t *testing.T) {
	for text, want := range map[string]model.Kind{
		"cannot exec in a stopped state: unknown":                        model.NotFound,
		"cannot exec in a deleted state: unknown":                        model.NotFound,
		"cannot resize a stopped container: unknown":                     model.NotFound,
		`exec: "x": executable file not found in $PATH: unknown`:         model.Internal,
		"cannot stop: a container is stopped, or in some state: unknown": model.Internal,
	} {
		if got := model.KindOf(Fault("exec", "c", status.Error(codes.Unknown, text))); got != want {
			t.Errorf("%s: kind %v, want %v", text, got, want)
		}
	}
}
