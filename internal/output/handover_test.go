package output

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// TestHandOverKeepsEveryByte: random writes, handed over at random moments; the
// log has the input, and so has a client that comes back each time.
func TestHandOverKeepsEveryByte(t *testing.T) {
	for seed := range uint64(5) {
		t.Run("", func(t *testing.T) {
			chance := rand.New(rand.NewPCG(seed, 1))
			now, out := newOutputs(t, Options{}), fifos(t)
			open(t, now, out)
			stdout, stderr := writer(t, out.Pipes.Stdout), writer(t, out.Pipes.Stderr)
			now.Begun(id)
			got, client := map[string]string{}, now.Follow(id, true, true) // before anything is written
			input := map[string]string{stdoutName: randomText(chance, 1<<20), stderrName: randomText(chance, 1<<16)}
			wrote := make(chan error, 2)
			go func() { wrote <- writePieces(stdout, input[stdoutName], seed) }()
			go func() { wrote <- writePieces(stderr, input[stderrName], seed) }()

			for range 20 {
				time.Sleep(time.Duration(chance.IntN(3)) * time.Millisecond) // a random moment
				next := newOutputs(t, Options{Grace: time.Minute})
				if err := next.Adopt(now.Release()); err != nil {
					t.Fatal(err)
				}
				collect(t, client, got)
				now, client = next, next.Follow(id, true, true)
			}
			for range 2 {
				if err := <-wrote; err != nil {
					t.Fatal(err)
				}
			}
			end := make(chan map[string]string)
			go func() {
				rest, err := everything(t.Context(), client)
				if !errors.Is(err, io.EOF) {
					t.Errorf("the client ended with %v", err)
				}
				end <- rest
			}()
			drain(t, now)
			closeOutput(t, now)
			rest := <-end
			client.Close()
			log := logged(t, out.Log, time.Time{})
			for name, want := range input {
				if log[name] != want {
					t.Errorf("%s: log has %d bytes, want %d", name, len(log[name]), len(want))
				}
				if all := got[name] + rest[name]; all != want {
					t.Errorf("%s: client got %d bytes, want %d", name, len(all), len(want))
				}
			}
		})
	}
}

func randomText(chance *rand.Rand, size int) string {
	const letters = "abcdefghij\"<\n"
	var b strings.Builder
	for b.Len() < size {
		if chance.IntN(2000) == 0 {
			b.WriteString(strings.Repeat("long", maxLine/3))
		}
		b.WriteByte(letters[chance.IntN(len(letters))])
	}
	return b.String()
}

func writePieces(to *os.File, text string, seed uint64) error {
	chance := rand.New(rand.NewPCG(seed, 2))
	for len(text) > 0 {
		n := min(1+chance.IntN(1+chance.IntN(4000)), len(text))
		if _, err := io.WriteString(to, text[:n]); err != nil {
			return err
		}
		text = text[n:]
		if chance.IntN(20) == 0 {
			time.Sleep(100 * time.Microsecond) // a slow writer
		}
	}
	return to.Close()
}

// collect reads a released client to its end.
func collect(t *testing.T, c *Client, into map[string]string) {
	t.Helper()
	defer c.Close()
	text, err := everything(within(t), c)
	if model.KindOf(err) != model.Unavailable || err.Error() != "the keeper was replaced" {
		t.Fatalf("a released client ended with %v", err)
	}
	for name := range text {
		into[name] += text[name]
	}
}

func TestReleaseDoesNotWaitForClients(t *testing.T) {
	o, out := newOutputs(t, Options{Patience: time.Hour}), fifos(t)
	open(t, o, out)
	stuck := o.Follow(id, true, true)
	w := writer(t, out.Pipes.Stdout)
	text := strings.Repeat("0123456789abcde\n", 3<<20/16)
	wrote := make(chan error, 1)
	go func() {
		_, err := io.WriteString(w, text)
		wrote <- errors.Join(err, w.Close())
	}()
	eventually(t, "the queue is full", func() bool {
		stuck.mu.Lock()
		defer stuck.mu.Unlock()
		return stuck.room != nil
	})
	handed := o.Release()
	if len(handed) != 1 || handed[0].Clients != 1 || handed[0].Begun || len(handed[0].Files) != 2 {
		t.Fatalf("handed %+v", handed)
	}
	got := map[string]string{}
	collect(t, stuck, got)

	next := newOutputs(t, Options{})
	handed[0].Clients = 0
	if err := next.Adopt(handed); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	next.Begun(id)
	drain(t, next)
	closeOutput(t, next)
	if log := logged(t, out.Log, time.Time{})[stdoutName]; log != text {
		t.Errorf("log has %d bytes, want %d", len(log), len(text))
	}
	if !strings.HasPrefix(text, got[stdoutName]) || len(got[stdoutName]) < queueSize/2 {
		t.Errorf("the client got %d bytes", len(got[stdoutName]))
	}
}

func TestAdoptedOutputWaitsForItsClients(t *testing.T) {
	old, out := newOutputs(t, Options{}), fifos(t)
	open(t, old, out)
	w := writer(t, out.Pipes.Stdout)
	client := old.Follow(id, true, true)
	handed := old.Release()
	collect(t, client, map[string]string{})
	print(t, w, "between\n")

	next := newOutputs(t, Options{Grace: time.Hour})
	if err := next.Adopt(handed); err != nil {
		t.Fatal(err)
	}
	back := next.Follow(id, true, true)
	defer back.Close()
	if _, data, err := back.Next(within(t)); err != nil || string(data) != "between\n" {
		t.Errorf("got %q %v", data, err)
	}

	again := newOutputs(t, Options{Grace: time.Millisecond}) // nobody comes back
	if err := again.Adopt(next.Release()); err != nil {
		t.Fatal(err)
	}
	print(t, w, "later\n")
	eventually(t, "it is read all the same", func() bool {
		return logged(t, out.Log, time.Time{})[stdoutName] == "between\nlater\n"
	})
}

func TestAdoptBeforeBegunKeepsGuards(t *testing.T) {
	old, out := newOutputs(t, Options{}), fifos(t)
	open(t, old, out)
	next := newOutputs(t, Options{})
	if err := next.Adopt(old.Release()); err != nil {
		t.Fatal(err)
	}
	w := writer(t, out.Pipes.Stdout)
	print(t, w, "text")
	w.Close()
	writer(t, out.Pipes.Stderr).Close()
	next.Begun(id)
	drain(t, next)
	if got := logged(t, out.Log, time.Time{})[stdoutName]; got != "text" {
		t.Errorf("log %q", got)
	}
}

func TestEndedOutputStaysEnded(t *testing.T) {
	old, out := newOutputs(t, Options{}), fifos(t)
	open(t, old, out)
	w := writer(t, out.Pipes.Stdout)
	print(t, w, "end")
	old.Begun(id)
	w.Close()
	writer(t, out.Pipes.Stderr).Close()
	drain(t, old)
	next := newOutputs(t, Options{})
	if err := next.Adopt(old.Release()); err != nil {
		t.Fatal(err)
	}
	drain(t, next)
	remake(t, out) // the next run, of which nobody said that the last one is over
	open(t, next, out)
	again := writer(t, out.Pipes.Stdout)
	writer(t, out.Pipes.Stderr).Close()
	next.Begun(id)
	print(t, again, "new\n")
	again.Close()
	drain(t, next)
	if got := logged(t, out.Log, time.Time{})[stdoutName]; got != "endnew\n" {
		t.Errorf("log %q", got)
	}
}

func TestReleasedOutputsRefuse(t *testing.T) {
	o, out := newOutputs(t, Options{}), fifos(t)
	waiting := o.Follow(id, true, true) // without a run
	defer waiting.Close()
	if handed := o.Release(); len(handed) != 0 {
		t.Errorf("handed %v", handed)
	}
	late := o.Follow(id, true, true)
	defer late.Close()
	for name, c := range map[string]*Client{"waiting": waiting, "late": late} {
		if _, _, err := c.Next(within(t)); model.KindOf(err) != model.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := o.Open(t.Context(), out); model.KindOf(err) != model.Unavailable {
		t.Errorf("opened: %v", err)
	}
	if err := o.Adopt(nil); err != nil { // nobody took over
		t.Fatal(err)
	}
	open(t, o, out)
}

func TestAdoptRefusesWhatIsOpen(t *testing.T) {
	o, other, out := newOutputs(t, Options{}), newOutputs(t, Options{Logger: slog.New(slog.DiscardHandler)}), fifos(t)
	open(t, o, out)
	open(t, other, out)
	if err := o.Adopt(other.Release()); model.KindOf(err) != model.Conflict {
		t.Errorf("adopted: %v", err)
	}
}
