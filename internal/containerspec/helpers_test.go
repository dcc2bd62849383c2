package containerspec

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks an error's kind and a part of its text.
func refused(t *testing.T, err error, kind model.Kind, text string) {
	t.Helper()
	if err == nil || model.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Fatalf("got error %v (kind %d), want kind %d with %q", err, model.KindOf(err), kind, text)
	}
}

func equal[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b T) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
