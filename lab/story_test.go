package lab

import (
	"os"
	"testing"
)

// engineVariable names the daemon the stories are played with; "make test" sets it.
const engineVariable = "LINKSPAND_BIN"

// TestLanguage plays the stories that need no engine: they are about the commands of a story themselves.
func TestLanguage(t *testing.T) {
	needRoot(t)
	RunStories(t, "testdata/language", Options{})
}

// TestStories plays the stories of the engine.
func TestStories(t *testing.T) {
	needRoot(t)
	engine := os.Getenv(engineVariable)
	if engine == "" {
		t.Skip(engineVariable + " names no engine")
	}
	if _, err := os.Stat(engine); err != nil {
		t.Fatalf("%s: %v", engineVariable, err)
	}
	RunStories(t, "testdata/stories", Options{Engine: engine})
}
