package files

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"github.com/moby/go-archive"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// Write unpacks a tar archive, which may be compressed, into the folder that a path in the
// container leads to. Errors: model.ErrNoFile if it leads nowhere, Invalid if to no folder,
// and those of o.Check; after them what was unpacked stays.
func (s *Store) Write(ctx context.Context, v model.FileView, name string, in io.Reader, o model.ExtractOptions) error {
	plain, err := decompress(in)
	if err != nil {
		return err
	}
	defer plain.Close()
	options, done, err := archive.WithProcSelfFD(&archive.TarOptions{NoOverwriteDirNonDir: o.Keep})
	if err != nil {
		return err
	}
	defer done()
	return s.within(ctx, v, func() error {
		folder, err := folderAt(name)
		if err != nil {
			return err
		}
		if o.Check != nil {
			if err := o.Check(folder); err != nil {
				return err
			}
		}
		if o.User != "" {
			who, err := ocispec.ResolveUser("/", o.User, nil)
			if err != nil {
				return err
			}
			options.ChownOpts = &archive.ChownOpts{UID: int(who.UID), GID: int(who.GID)}
		}
		return unpack(plain, folder, options)
	})
}

// unpack unpacks a plain tar archive.
func unpack(plain io.Reader, folder string, o *archive.TarOptions) error {
	err := archive.UntarUncompressed(plain, folder, o)
	if os.IsNotExist(err) { // as Docker has it
		return noFile(err)
	}
	return unfit(err)
}

// folderAt follows a path and all links in it to a folder.
func folderAt(name string) (string, error) {
	folder, err := filepath.EvalSymlinks(absolute(name))
	if err != nil {
		return "", noFile(err)
	}
	info, err := os.Lstat(folder)
	if err != nil {
		return "", noFile(err)
	}
	if !info.IsDir() {
		return "", model.Errorf(model.Invalid, "extraction point is not a directory")
	}
	return folder, nil
}

// decompress returns what an archive holds, whichever way it was compressed. No program is
// started for it.
func decompress(in io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(in, 64<<10)
	head, err := buffered.Peek(6)
	if err != nil && err != io.EOF { //nolint:errorlint // bufio's own, never wrapped
		return nil, model.Errorf(model.Invalid, "read the archive: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		out, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, model.Errorf(model.Invalid, "read the archive: %w", err)
		}
		return out, nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(buffered)), nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		out, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
		return out.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("\xfd7zXZ")):
		return nil, &model.Error{Kind: model.Invalid, Err: fmt.Errorf("archives compressed with xz are not supported"),
			Way: "decompress it first: xz -dc ARCHIVE | docker cp - CONTAINER:PATH"}
	}
	return io.NopCloser(buffered), nil
}
