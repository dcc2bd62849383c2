package jsonlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// follow reads a log as another process does, and returns what it found once
// ended is closed.
func follow(t *testing.T, path string, ended <-chan struct{}) <-chan []string {
	t.Helper()
	r, err := Read(path, ReadOptions{Tail: -1, Follow: true, Ended: ended})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []string, 1)
	go func() { got <- texts(t, r) }()
	return got
}

func write(t *testing.T, l *Log, line string) {
	t.Helper()
	if err := l.Write(Entry{Stream: "stdout", Line: []byte(line)}); err != nil {
		t.Fatal(err)
	}
}

func result(t *testing.T, got <-chan []string) []string {
	t.Helper()
	select {
	case lines := <-got:
		return lines
	case <-time.After(20 * time.Second):
		t.Fatal("the follower sleeps on")
		return nil
	}
}

// eventually waits for what another goroutine does to the files.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) { // poll
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestFollowerMissesNothing: entries that are still in some file all come, in
// order and once, however fast the files change their names.
func TestFollowerMissesNothing(t *testing.T) {
	const entries = 3000
	for name, o := range map[string]Options{
		"one file":   {},
		"many files": {MaxSize: 3000, MaxFiles: 10000},
		"big files":  {MaxSize: 50000, MaxFiles: 100},
		"compressed": {MaxSize: 10000, MaxFiles: 1000, Compress: true},
	} {
		t.Run(name, func(t *testing.T) {
			l, path := open(t, o)
			ended := make(chan struct{})
			got := follow(t, path, ended)
			for i := range entries {
				write(t, l, fmt.Sprintf("%d\n", i))
			}
			l.Close()
			close(ended)
			lines := result(t, got)
			if len(lines) != entries {
				t.Errorf("%d entries, want %d", len(lines), entries)
			}
			for i, line := range lines {
				if line != fmt.Sprintf("%d\n", i) {
					t.Fatalf("entry %d is %q", i, line)
				}
			}
		})
	}
}

// TestFollowerThatSleepsFindsWhatIsLeft: its file was put aside, compressed and
// moved on before it looks again.
func TestFollowerThatSleepsFindsWhatIsLeft(t *testing.T) {
	l, path := open(t, Options{MaxSize: 300, MaxFiles: 50, Compress: true})
	write(t, l, "0\n")
	ended := make(chan struct{})
	r, err := Read(path, ReadOptions{Tail: -1, Follow: true, Ended: ended})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := r.Next(t.Context()); err != nil || string(e.Line) != "0\n" {
		t.Fatalf("%q %v", e.Line, err)
	}
	for i := 1; i < 40; i++ {
		write(t, l, fmt.Sprintf("%d\n", i))
	}
	eventually(t, "the last but one file is compressed", func() bool {
		_, err := os.Stat(path + ".1.gz")
		return err == nil
	})
	l.Close()
	close(ended)
	if got := texts(t, r); len(got) != 39 || got[0] != "1\n" || got[38] != "39\n" {
		t.Errorf("got %q", got)
	}
}

func TestFollowWaitsForALogToBeMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	ended := make(chan struct{})
	got := follow(t, path, ended)
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	write(t, l, "a\n")
	close(ended)
	if lines := result(t, got); fmt.Sprint(lines) != "[a\n]" {
		t.Errorf("got %q", lines)
	}
	none, err := Read(path+"x", ReadOptions{Tail: -1})
	if err != nil {
		t.Fatal(err)
	}
	if lines := texts(t, none); lines != nil {
		t.Errorf("a log that is not there has %q", lines)
	}
	if _, err := Read(filepath.Join(path, "x"), ReadOptions{Follow: true, Ended: ended}); err == nil {
		t.Error("what cannot be is followed")
	}
}

// TestFollowerIsWoken: well before its safety net.
func TestFollowerIsWoken(t *testing.T) {
	l, path := open(t, Options{})
	r, err := Read(path, ReadOptions{Tail: -1, Follow: true, Ended: make(chan struct{})})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.watch.events == nil {
		t.Skip("no inotify instance is left")
	}
	asleep, wrote := make(chan struct{}), make(chan error)
	go func() {
		for range asleep {
			time.Sleep(time.Millisecond) // most likely the reader sleeps by then
			wrote <- l.Write(Entry{Stream: "stdout", Line: []byte("x\n")})
		}
	}()
	defer close(asleep)
	began := time.Now()
	for i := range 20 {
		asleep <- struct{}{}
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 10*safetyNet {
		t.Errorf("20 entries took %v", took)
	}
}

func TestFollowerSeesNoGarbageAfterACrash(t *testing.T) {
	good := string(Entry{Time: time.Unix(1, 0), Stream: "stdout", Line: []byte("good\n")}.Append(nil))
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(good+good[:30]), 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	got := follow(t, path, ended)
	l, err := Open(path, Options{}) // the writer comes back
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	write(t, l, "after\n")
	close(ended)
	if lines := result(t, got); fmt.Sprint(lines) != "[good\n after\n]" {
		t.Errorf("got %q", lines)
	}
}

func TestFollowerSeesALogThatWasEmptied(t *testing.T) {
	l, path := open(t, Options{})
	write(t, l, strings.Repeat("long", 100)+"\n")
	ended := make(chan struct{})
	r, err := Read(path, ReadOptions{Tail: -1, Follow: true, Ended: ended})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, l, "new\n")
	close(ended)
	if got := texts(t, r); fmt.Sprint(got) != "[new\n]" {
		t.Errorf("got %q", got)
	}
}

func TestRotationThatFailsLosesNothing(t *testing.T) {
	l, path := open(t, Options{MaxSize: 300, MaxFiles: 3})
	if err := os.Mkdir(path+freshSuffix, 0o700); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := range 10 {
		if err := l.Write(Entry{Stream: "stdout", Line: fmt.Appendf(nil, "%d\n", i)}); err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("nobody is told")
	}
	if got := read(t, path, ReadOptions{Tail: -1}); len(got) != 10 {
		t.Errorf("got %q", got)
	}
	os.Remove(path + freshSuffix)
	write(t, l, "10\n")
	if got := read(t, path, ReadOptions{Tail: -1}); len(got) != 11 || got[10] != "10\n" {
		t.Errorf("got %q", got)
	}
	if files, _ := filepath.Glob(path + "*"); len(files) != 2 {
		t.Errorf("files %v", files)
	}
}

func TestCompressedFilesAreRead(t *testing.T) {
	l, path := open(t, Options{MaxSize: 300, MaxFiles: 4, Compress: true})
	for i := range 12 {
		write(t, l, fmt.Sprintf("%d\n", i))
	}
	eventually(t, "the file is compressed", func() bool {
		_, err := os.Stat(path + ".1")
		return errors.Is(err, os.ErrNotExist)
	})
	packed, _ := filepath.Glob(path + ".*.gz")
	if len(packed) < 2 {
		t.Fatalf("compressed files %v", packed)
	}
	for n, want := range map[int]string{-1: "[0 1 2 3 4 5 6 7 8 9 10 11]", 1: "[11]", 6: "[6 7 8 9 10 11]", 11: "[1 2 3 4 5 6 7 8 9 10 11]"} {
		if got := strings.ReplaceAll(fmt.Sprint(read(t, path, ReadOptions{Tail: n})), "\n", ""); got != want {
			t.Errorf("tail %d: got %s", n, got)
		}
	}
	// One that is damaged costs what is in it.
	raw, err := os.ReadFile(packed[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{"cut": raw[:len(raw)/2], "foreign": []byte("no gzip"), "empty": nil, "changed": bytes.Replace(raw, raw[len(raw)-8:], make([]byte, 8), 1)} {
		if err := os.WriteFile(packed[0], damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path, ReadOptions{Tail: -1}); len(got) < 8 || got[len(got)-1] != "11\n" {
			t.Errorf("%s: got %q", name, got)
		}
		if got := read(t, path, ReadOptions{Tail: 12}); got[len(got)-1] != "11\n" {
			t.Errorf("%s: tail got %q", name, got)
		}
	}
}

func TestCompressionGivesUpAtClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.1")
	entry := Entry{Time: time.Unix(1, 0), Stream: "stdout", Line: []byte("text\n")}.Append(nil)
	if err := os.WriteFile(path, entry, 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	close(stop)
	if err := pack(path, stop); err == nil {
		t.Error("compressed")
	}
	os.Remove(path + packedSuffix + freshSuffix) // startPacking's business
	startPacking(path).abandon()                 // it may just have done it
	if got := read(t, strings.TrimSuffix(path, ".1"), ReadOptions{Tail: -1}); len(got) != 1 {
		t.Errorf("in neither form: %q", got)
	}
	if left, _ := filepath.Glob(path + "*" + freshSuffix); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestEntriesAreCollected(t *testing.T) {
	l, path := open(t, Options{})
	line := []byte(strings.Repeat("x", 99) + "\n")
	for range 100 {
		if err := l.Add(Entry{Stream: "stdout", Line: line}); err != nil {
			t.Fatal(err)
		}
	}
	if info, _ := os.Stat(path); info.Size() != 0 {
		t.Errorf("%d bytes written before Flush", info.Size())
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path, ReadOptions{Tail: -1}); len(got) != 100 {
		t.Errorf("%d entries", len(got))
	}
	for range 100_000 { // memory is bounded without Flush, too
		if err := l.Add(Entry{Stream: "stdout", Line: line}); err != nil {
			t.Fatal(err)
		}
		if len(l.buf) > flushSize {
			t.Fatalf("%d bytes collected", len(l.buf))
		}
	}
	l.Close()
	if err := l.Add(Entry{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("added to a closed log: %v", err)
	}
}

func TestShortWriteIsEnded(t *testing.T) {
	l, path := open(t, Options{})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	file := l.file
	l.file = w
	w.Close()
	if err := l.Write(Entry{Stream: "stdout", Line: []byte("lost\n")}); err == nil {
		t.Error("written to a closed file")
	}
	l.file = file
	io.WriteString(file, `{"log":"half`)
	l.torn = true
	write(t, l, "next\n")
	if got := read(t, path, ReadOptions{Tail: -1}); fmt.Sprint(got) != "[next\n]" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkAdd(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "log"), Options{MaxSize: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	e := Entry{Time: time.Now(), Stream: "stdout", Line: []byte(strings.Repeat("x", 99) + "\n")}
	b.SetBytes(100)
	for b.Loop() {
		if err := l.Add(e); err != nil {
			b.Fatal(err)
		}
	}
}
