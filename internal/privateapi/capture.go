package privateapi

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Bounds of a capture. Frames of BIG TCP have some 200 KB, at most half a megabyte.
const (
	DefaultSnapLen = 256 << 10 // bytes
	MaxSnapLen     = 1 << 20
	MaxCapture     = 24 * time.Hour
)

// Trailers of a capture's answer: how many frames it has, and how many were dropped because
// whoever reads was too slow.
const (
	TrailerFrames  = "Linkspan-Frames"
	TrailerDropped = "Linkspan-Dropped"
)

// Capture asks for the frames of a container or network: POST /linkspan/v1/capture.
type Capture struct {
	Target   string // name or ID; "container:NAME" or "network:NAME" where both have it
	Filter   string // in words of pcap-filter(7); empty: all frames
	SnapLen  int    // bytes of a frame that are kept; 0: DefaultSnapLen
	Count    int    // frames; 0: no bound
	Duration time.Duration
}

// Captured is what a capture came to.
type Captured struct{ Frames, Dropped uint64 }

// Capture writes frames to a file as pcapng until there are enough, or ctx ends, which ends
// the file as it should end. known is false if the daemon did not say how many there were.
func (c Client) Capture(ctx context.Context, q Capture, file io.Writer) (got Captured, known bool, err error) {
	query := url.Values{"target": {q.Target}, "filter": {q.Filter}, "snaplen": {strconv.Itoa(q.SnapLen)}, "count": {strconv.Itoa(q.Count)}}
	if q.Duration != 0 {
		query.Set("duration", q.Duration.String())
	}
	// The answer ends when the body of the request does.
	body, enough := io.Pipe()
	end := func() { _ = enough.Close() } // it has no failure
	defer end()
	defer context.AfterFunc(ctx, end)()
	whole, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(patienceAtEnd, abandon) })()
	resp, err := c.do(whole, http.MethodPost, "/linkspan/v1/capture?"+query.Encode(), body)
	if err != nil {
		return got, false, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(file, resp.Body); err != nil {
		return got, false, err
	}
	frames, errFrames := strconv.ParseUint(resp.Trailer.Get(TrailerFrames), 10, 64)
	dropped, errDropped := strconv.ParseUint(resp.Trailer.Get(TrailerDropped), 10, 64)
	return Captured{frames, dropped}, errFrames == nil && errDropped == nil, nil
}

// patienceAtEnd is how long a daemon may take to end what it was told to end.
const patienceAtEnd = 5 * time.Second
