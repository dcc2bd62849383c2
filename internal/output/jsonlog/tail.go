package jsonlog

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// tailBlock is how much is read at once on the way back, in bytes.
const tailBlock = 32 << 10

// seekTail sets parts, the oldest first, so that only the last n lines are read,
// and returns those that are needed. The others are closed.
func seekTail(parts []part, n int) ([]part, error) {
	for i := len(parts) - 1; i >= 0; i-- {
		found, err := parts[i].seekTail(n)
		if err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
		if n -= found; n <= 0 {
			closeParts(parts[:i])
			return parts[i:], nil
		}
	}
	return parts, nil
}

// seekTail sets one part, and returns how many of the lines it has.
func (p *part) seekTail(n int) (int, error) {
	if p.packed {
		lines, err := p.lines()
		p.skip = max(lines-n, 0)
		return min(lines, n), err
	}
	offset, found, err := tailOffset(p.file, n)
	if err != nil {
		return 0, err
	}
	_, err = p.file.Seek(offset, io.SeekStart)
	return found, err
}

// tailOffset returns where the last n lines of f begin, and how many there are
// if fewer. Half a line at the end does not count.
func tailOffset(f *os.File, n int) (offset int64, found int, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	buf := make([]byte, tailBlock)
	feeds := 0 // line feeds seen; the one before the n-th last line is number n+1
	for end := info.Size(); end > 0; {
		start := max(end-tailBlock, 0)
		block := buf[:end-start]
		if _, err := f.ReadAt(block, start); err != nil {
			return 0, 0, err
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
