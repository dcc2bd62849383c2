package wire

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestErrorAtTheEndOfADump(t *testing.T) {
	number := func(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }
	if err := errorNumber(number(-int32(unix.ENOMEM))); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(errorNumber(number(0)), errorNumber(nil)); err != nil {
		t.Errorf("got %v", err)
	}
}
