package process

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLongLogIsPutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "containerd.log")
	if err := os.WriteFile(path, make([]byte, logLimit+1), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenLog(path, "containerd's log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("log %v %v, want empty", info, err)
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() != logLimit+1 {
		t.Errorf("old log %v %v", info, err)
	}
}
