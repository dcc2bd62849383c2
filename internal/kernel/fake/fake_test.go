package fake_test

import (
	"testing"

	"github.com/linkspan/linkspan/internal/kernel/fake"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// TestConformance holds the fake to the body that the real kernel passes.
func TestConformance(t *testing.T) {
	kerneltest.Run(t, func(*testing.T) kerneltest.Kernel { return &fake.Kernel{} })
}
