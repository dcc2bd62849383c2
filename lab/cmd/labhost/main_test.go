package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestWhoFailed: the status of the command is passed on without a word, as it has said
// why; what else fails is told, also if a program ended with a status.
func TestWhoFailed(t *testing.T) {
	failed := play(t.Context(), os.Environ(), []string{"sh", "-c", "exit 7"})
	if got := status(failed); got != 7 {
		t.Errorf("a command that ends with 7: %d (%v)", got, failed)
	}
	ended := exec.Command("sh", "-c", "exit 32").Run()
	for _, err := range []error{nil, ended, fmt.Errorf("machine lan did not come up: %w", ended), errors.Join(failed, errors.New("left over"))} {
		if got := status(err); got != 0 {
			t.Errorf("%v: status %d", err, got)
		}
	}
}
