package containerfiles

import (
	"bytes"
	"errors"
	"os"
)

// Rewrite gives a file another text, in place: a container has it mounted, and a
// mount is of the inode, so that another file in its stead would not be seen. The
// file is never empty in between, as it would be if it were cut first, and has no
// lines of the old text behind the new one: what is longer in the old text is
// overwritten with empty lines, all in one write, and then cut. More than that no
// file system promises to a program that reads at the same moment.
func Rewrite(path string, text []byte) error {
	f, err := openShared(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	return errors.Join(overwrite(f, text), f.Close())
}

func overwrite(f *os.File, text []byte) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	long := text
	if excess := info.Size() - int64(len(text)); excess > 0 {
		long = append(bytes.Clone(text), bytes.Repeat([]byte("\n"), int(min(excess, maxExcess)))...)
	}
	if _, err := f.WriteAt(long, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// maxExcess bounds what is overwritten before it is cut, in bytes. Only a user
// makes such a file longer.
const maxExcess = 1 << 20
