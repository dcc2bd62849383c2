package containers

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

func TestTop(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	_, err := b.Top(ctx, id, nil)
	refused(t, err, model.Conflict, "is not running")
	must(t, b.Start(ctx, id))
	pid, parent := strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getppid())
	for _, c := range []struct {
		args     string
		titles   string
		pid, ppi int // columns, -1 for none
	}{
		{"", "UID PID PPID C STIME TTY TIME CMD", 1, 2},
		{"-ef", "UID PID PPID C STIME TTY TIME CMD", 1, 2},
		{"aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND", 1, -1},
		{"-o pid,ppid", "PID PPID", 0, 1},
		{"-eo ppid,pid", "PPID PID", 1, 0},
	} {
		got, err := b.Top(ctx, id, strings.Fields(c.args))
		must(t, err)
		if titles := strings.Join(got.Titles, " "); titles != c.titles || len(got.Processes) != 1 {
			t.Fatalf("%s: titles %s, processes %v", c.args, titles, got.Processes)
		}
		row := got.Processes[0]
		if len(row) != len(got.Titles) || row[c.pid] != pid || c.ppi >= 0 && row[c.ppi] != parent {
			t.Errorf("%s: %q", c.args, row)
		}
	}
	_, err = b.Top(ctx, id, []string{"-o", "comm"})
	refused(t, err, model.Internal, "Couldn't find PID field in ps output")
	past, _ := b.Subscribe(ctx, time.Unix(1, 0), time.Time{}, func(e events.Message) bool { return e.Action == events.ActionTop })
	if len(past) != 5 {
		t.Errorf("%d events, want one for each answer", len(past))
	}
}
