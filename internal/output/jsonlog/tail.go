package jsonlog

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// tailBlock is how much is read at once on the way back, in bytes.
const tailBlock = 32 << 10

// seekTail sets files, the oldest first, so that only the last n lines are read,
// and returns those that are needed. The others are closed.
func seekTail(files []*os.File, n int) ([]*os.File, error) {
	for i := len(files) - 1; i >= 0; i-- {
		offset, found, err := tailOffset(files[i], n)
		if err != nil {
			return nil, err
		}
		if _, err := files[i].Seek(offset, io.SeekStart); err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
		if n -= found; n <= 0 {
			closeAll(files[:i])
			return files[i:], nil
		}
	}
	return files, nil
}

// tailOffset returns where the last n lines of f begin, and how many there are
// if fewer. Half a line at the end does not count.
func tailOffset(f *os.File, n int) (offset int64, found int, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("read log: %w", err)
	}
	buf := make([]byte, tailBlock)
	feeds := 0 // line feeds seen; the one before the n-th last line is number n+1
	for end := info.Size(); end > 0; {
		start := max(end-tailBlock, 0)
		block := buf[:end-start]
		if _, err := f.ReadAt(block, start); err != nil {
			return 0, 0, fmt.Errorf("read log: %w", err)
		}
		for i := len(block); ; {
			if i = bytes.LastIndexByte(block[:i], '\n'); i < 0 {
				break
			}
			if feeds++; feeds == n+1 {
				return start + int64(i) + 1, n, nil
			}
		}
		end = start
	}
	return 0, feeds, nil
}
