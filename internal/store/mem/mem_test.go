package mem_test

import (
	"testing"

	"github.com/linkspan/linkspan/internal/store/mem"
	"github.com/linkspan/linkspan/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Store { return &mem.Store{} })
}
