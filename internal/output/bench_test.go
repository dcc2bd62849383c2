package output

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// benchBytes is what one round prints, in lines of 100 bytes.
const benchBytes = 100 << 20

// BenchmarkOutput compares what it takes a process to print through us with what
// it takes through the same FIFO into a plain file: "slowdown" 1.10 is 10 %.
// "paced" prints 50 MB/s, "flat-out" as fast as it can, in writes of one line and
// of 40 lines.
func BenchmarkOutput(b *testing.B) {
	for _, bench := range []struct {
		name  string
		lines int // in one write
		rate  int // bytes a second; 0: as fast as it goes
	}{{"paced/line", 1, 50e6}, {"paced/40lines", 40, 50e6}, {"flat-out/line", 1, 0}, {"flat-out/40lines", 40, 0}} {
		b.Run(bench.name, func(b *testing.B) {
			var plain, ours time.Duration
			for b.Loop() {
				plain += printTo(b, bench.lines, bench.rate, readPlain)
				ours += printTo(b, bench.lines, bench.rate, readOurs)
			}
			b.ReportMetric(ours.Seconds()/plain.Seconds(), "slowdown")
			b.ReportMetric(float64(benchBytes)*float64(b.N)/1e6/ours.Seconds(), "MB/s")
			b.ReportMetric(float64(benchBytes)*float64(b.N)/1e6/plain.Seconds(), "plain-MB/s")
		})
	}
}

// printTo returns how long the process that prints took.
func printTo(b *testing.B, lines, rate int, reader func(b *testing.B, out model.Output) (wait func())) time.Duration {
	b.Helper()
	dir := b.TempDir()
	out := model.Output{Container: id, Log: filepath.Join(dir, "log"), Pipes: model.Pipes{Stdout: filepath.Join(dir, "stdout")}}
	if err := unix.Mkfifo(out.Pipes.Stdout, 0o600); err != nil {
		b.Fatal(err)
	}
	wait := reader(b, out)
	w, err := os.OpenFile(out.Pipes.Stdout, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	text := bytes.Repeat(append(bytes.Repeat([]byte("x"), 99), '\n'), lines)
	began := time.Now()
	for sent := 0; sent < benchBytes; sent += len(text) {
		// As a process would: blocked in write(2), not in Go's poller.
		if _, err := unix.Write(int(w.Fd()), text); err != nil {
			b.Fatal(err)
		}
		if rate > 0 && sent%(512<<10) < len(text) {
			time.Sleep(time.Duration(float64(sent)/float64(rate)*1e9) - time.Since(began)) // the rate
		}
	}
	took := time.Since(began)
	w.Close()
	wait()
	os.RemoveAll(dir)
	return took
}

func readOurs(b *testing.B, out model.Output) func() {
	o := New(Options{Logger: slog.New(slog.DiscardHandler)})
	if err := o.Open(b.Context(), out); err != nil {
		b.Fatal(err)
	}
	return func() {
		o.Begun(id)
		if err := o.Drain(b.Context(), id); err != nil {
			b.Error(err)
		}
		if err := o.Close(id); err != nil {
			b.Error(err)
		}
	}
}

func readPlain(b *testing.B, out model.Output) func() {
	r, err := os.OpenFile(out.Pipes.Stdout, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		b.Fatal(err)
	}
	guard, err := os.OpenFile(out.Pipes.Stdout, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(out.Log)
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{r}, make([]byte, 64<<10))
	}()
	return func() {
		guard.Close()
		<-done
		r.Close()
		f.Close()
	}
}
