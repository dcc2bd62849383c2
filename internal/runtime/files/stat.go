package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/sys/symlink"

	"github.com/linkspan/linkspan/internal/model"
)

// Stat returns what is known of a file by its path in the container, a link itself unless
// the path ends with a slash. Errors: model.ErrNoFile.
func (s *Store) Stat(ctx context.Context, v model.FileView, name string) (out model.FileStat, err error) {
	err = s.within(ctx, v, func() error {
		out, err = stat(absolute(name))
		return err
	})
	return out, err
}

// stat is Stat on a thread that is in the container's files.
func stat(name string) (model.FileStat, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return model.FileStat{}, noFile(err)
	}
	out := model.FileStat{Name: filepath.Base(name), Size: info.Size(), Mode: info.Mode(), ModTime: info.ModTime()}
	if info.Mode()&fs.ModeSymlink != 0 {
		// As far as it leads: what it points to may not be there.
		if out.LinkTarget, err = symlink.FollowSymlinkInScope(name, "/"); err != nil {
			return model.FileStat{}, unfit(err)
		}
	}
	return out, nil
}

// absolute returns a path as one from the root, and leaves a slash or "/." at its end: they
// ask for what a link leads to, and for what is in a folder.
func absolute(name string) string {
	out := path.Join("/", name)
	switch {
	case out == "/":
	case strings.HasSuffix(name, "/."), name == ".":
		return out + "/."
	case strings.HasSuffix(name, "/"):
		return out + "/"
	}
	return out
}

// noFile says in the model's words that a path leads nowhere; other errors are the user's
// too, who asked for that path.
func noFile(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", model.ErrNoFile, err)
	}
	return unfit(err)
}

// unfit is an error over a path or an archive that the user gave.
func unfit(err error) error {
	if err == nil || model.KindOf(err) != model.Internal {
		return err
	}
	return model.Errorf(model.Unfit, "%w", err)
}
