package link

import (
	"testing"

	"golang.org/x/sys/unix"
)

func FuzzParseTraffic(f *testing.F) {
	f.Add(make([]byte, unix.SizeofIfInfomsg))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if _, err := parseTraffic(msg); err == nil && len(msg) < unix.SizeofIfInfomsg {
			t.Error("a message without its header was read")
		}
	})
}
