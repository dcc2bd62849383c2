package process

import (
	"fmt"
	"os"
	"path/filepath"
)

// logLimit is the size in bytes beyond which a log is put aside when its program is
// started.
const logLimit = 1 << 20

// OpenLog opens the log of a program that is about to be started, putting a long one
// aside as PATH.1. name is what errors call it: "containerd's log".
func OpenLog(path, name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("put %s aside: %w", name, err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}
