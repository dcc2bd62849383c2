package imagestore

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
)

// reportEvery is how often it is told how far a transfer is.
const reportEvery = 100 * time.Millisecond

// reporter tells a client how far a transfer is, at most some times a second and never while the
// transfer waits: a client that does not read holds up its own lines only.
type reporter struct {
	report func(model.Progress)
	done   chan struct{}
	ended  sync.WaitGroup

	mu      sync.Mutex
	pending []model.Progress
	last    map[string]int // by ID: which pending line is its last
	ticking map[string]time.Time
	named   map[string]bool // layers of which something was told
}

// newReporter returns one that tells until it is closed. report may be nil.
func newReporter(report func(model.Progress)) *reporter {
	if report == nil {
		report = func(model.Progress) {}
	}
	r := &reporter{report: report, done: make(chan struct{}), last: map[string]int{}, ticking: map[string]time.Time{}, named: map[string]bool{}}
	r.ended.Go(r.run)
	return r
}

// run tells what is pending, until the end.
func (r *reporter) run() {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			r.flush()
			return
		case <-tick.C:
			r.tickAll()
			r.flush()
		}
	}
}

// close tells the rest and returns when that is done.
func (r *reporter) close() {
	close(r.done)
	r.ended.Wait()
}

func (r *reporter) flush() {
	r.mu.Lock()
	lines := r.pending
	r.pending = nil
	clear(r.last)
	r.mu.Unlock()
	for _, line := range lines {
		r.report(line)
	}
}

// add queues a line. It takes the place of one that says the same with other numbers.
func (r *reporter) add(line model.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ok := r.last[line.ID]; ok && line.ID != "" && r.pending[i].Text == line.Text && !line.Message {
		r.pending[i] = line
		return
	}
	r.last[line.ID] = len(r.pending)
	r.pending = append(r.pending, line)
}

// say queues a line without a bar.
func (r *reporter) say(id, text string) { r.add(model.Progress{ID: id, Text: text, Message: true}) }

// layer queues what is done with a layer, without numbers.
func (r *reporter) layer(d digest.Digest, text string) {
	r.mu.Lock()
	r.named[layerID(d)] = true
	r.mu.Unlock()
	r.add(model.Progress{ID: layerID(d), Text: text})
}

// finished queues the end of a step, and hides the numbers of the one before it.
func (r *reporter) finished(d digest.Digest, text string) {
	r.mu.Lock()
	delete(r.ticking, layerID(d))
	r.mu.Unlock()
	r.add(model.Progress{ID: layerID(d), Text: text, HideCounts: true})
}

// extracting shows how long a layer has been unpacked, until it is finished.
func (r *reporter) extracting(d digest.Digest) {
	r.mu.Lock()
	r.ticking[layerID(d)] = time.Now()
	r.mu.Unlock()
	r.add(model.Progress{ID: layerID(d), Text: "Extracting", Current: 1, Units: "s"})
}

func (r *reporter) tickAll() {
	r.mu.Lock()
	now := map[string]time.Duration{}
	for id, since := range r.ticking {
		now[id] = time.Since(since)
	}
	r.mu.Unlock()
	for id, took := range now {
		r.add(model.Progress{ID: id, Text: "Extracting", Current: 1 + int64(took.Seconds()), Units: "s"})
	}
}

// layerID is by what Docker's clients know a layer.
func layerID(d digest.Digest) string {
	if text := d.Encoded(); len(text) > 12 {
		return text[:12]
	}
	return d.Encoded()
}

// counted is the content store as one pull sees it: what comes in is counted and told.
type counted struct {
	content.Store
	progress *reporter
}

// Writer implements content.Ingester.
func (c counted) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	w, err := c.Store.Writer(ctx, opts...)
	if !images.IsLayerType(o.Desc.MediaType) {
		return w, err
	}
	if errdefs.IsAlreadyExists(err) {
		c.progress.existing(o.Desc.Digest)
	}
	if err != nil {
		return nil, err
	}
	status, err := w.Status()
	if err != nil {
		w.Close() //nolint:errcheck // was only opened
		return nil, err
	}
	return &countedWriter{w, c.progress, o.Desc, status.Offset}, nil
}

// existing says that a layer is here already, if anything is told of it.
func (r *reporter) existing(d digest.Digest) {
	r.mu.Lock()
	told := r.named[layerID(d)]
	r.mu.Unlock()
	if told {
		r.finished(d, "Already exists")
	}
}

type countedWriter struct {
	content.Writer
	progress *reporter
	desc     ocispec.Descriptor
	offset   int64
}

// Write implements io.Writer.
func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.offset += int64(n)
	w.progress.add(model.Progress{ID: layerID(w.desc.Digest), Text: "Downloading", Current: w.offset, Total: w.desc.Size})
	return n, err
}

// Truncate implements content.Writer.
func (w *countedWriter) Truncate(size int64) error {
	w.offset = size
	return w.Writer.Truncate(size)
}

// Commit implements content.Writer.
func (w *countedWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	err := w.Writer.Commit(ctx, size, expected, opts...)
	if err == nil || errdefs.IsAlreadyExists(err) {
		w.progress.finished(w.desc.Digest, "Download complete")
	}
	return err
}

// applier unpacks layers, and tells.
type applier struct {
	diff.Applier
	progress *reporter
}

// Apply implements diff.Applier.
func (a applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	a.progress.extracting(desc.Digest)
	out, err := a.Applier.Apply(ctx, desc, mounts, opts...)
	if err == nil {
		a.progress.finished(desc.Digest, "Pull complete")
	}
	return out, err
}
