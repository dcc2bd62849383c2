package buildkitd

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

// maxUntold bounds the images that one listener has not been told of.
const maxUntold = 256

// announcer tells those who listen of images that are made.
type announcer struct {
	mu        sync.Mutex
	listeners map[chan wire.Image]bool
}

func newAnnouncer() *announcer { return &announcer{listeners: map[chan wire.Image]bool{}} }

// announce waits for nobody: who is far behind misses it.
func (a *announcer) announce(i wire.Image) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range a.listeners {
		select {
		case l <- i:
		default:
		}
	}
}

// serve answers with a line for every image from now on.
func (a *announcer) serve(w http.ResponseWriter, r *http.Request) {
	heard := make(chan wire.Image, maxUntold)
	a.mu.Lock()
	a.listeners[heard] = true
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.listeners, heard)
		a.mu.Unlock()
	}()
	w.WriteHeader(http.StatusOK)
	flush, encoder := http.NewResponseController(w), json.NewEncoder(w)
	for flush.Flush() == nil {
		select {
		case i := <-heard:
			if encoder.Encode(i) != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
