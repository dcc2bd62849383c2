package localvolume

import (
	"context"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Size returns how many bytes the files of a volume have, each counted once however many
// names it has. What vanishes meanwhile is not counted.
func (s *Store) Size(ctx context.Context, name string) (int64, error) {
	type inode struct{ device, number uint64 }
	seen := map[inode]bool{}
	var size int64
	err := filepath.WalkDir(s.data(name), func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if path != s.data(name) {
				return nil //nolint:nilerr // gone meanwhile
			}
			return err
		}
		info, err := d.Info()
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // the same
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			at := inode{st.Dev, st.Ino}
			if seen[at] {
				return nil
			}
			seen[at] = true
		}
		size += info.Size()
		return nil
	})
	return size, err
}
