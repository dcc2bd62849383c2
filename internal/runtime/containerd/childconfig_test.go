package containerd

import (
	"strings"
	"testing"
)

func TestChildConfig(t *testing.T) {
	got := string(childConfig("/d", "/x"))
	for _, want := range []string{"version = 2\n", "root = \"/d/root\"\n", "state = \"/x/state\"\n",
		"address = \"/x/containerd.sock\"\n", "\"io.containerd.grpc.v1.cri\","} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q in\n%s", want, got)
		}
	}
}
