package buildkitd

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

// maxQuestion bounds the body of a question, in bytes.
const maxQuestion = 1 << 20

// serveUsage says what is in the cache.
func (s *Server) serveUsage(w http.ResponseWriter, r *http.Request) {
	found, err := s.client.DiskUsage(r.Context(), &controlapi.DiskUsageRequest{})
	if err != nil {
		http.Error(w, plainly(err), http.StatusInternalServerError)
		return
	}
	out := make([]wire.Record, 0, len(found.Record))
	for _, one := range found.Record {
		out = append(out, recordOf(one))
	}
	s.answer(w, out)
}

// recordOf translates an entry of the cache.
func recordOf(u *controlapi.UsageRecord) wire.Record {
	out := wire.Record{
		ID: u.ID, Type: u.RecordType, Description: u.Description, Parents: u.Parents, InUse: u.InUse, Shared: u.Shared, Size: u.Size, Uses: int(u.UsageCount),
	}
	if u.CreatedAt != nil {
		out.Created = u.CreatedAt.AsTime()
	}
	if u.LastUsedAt != nil {
		used := u.LastUsedAt.AsTime()
		out.LastUsed = &used
	}
	return out
}

// servePrune removes from the cache.
func (s *Server) servePrune(w http.ResponseWriter, r *http.Request) {
	var ask wire.Prune
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion)).Decode(&ask); err != nil {
		refuse(w, err)
		return
	}
	out, err := s.prune(r, ask)
	if err != nil {
		http.Error(w, plainly(err), http.StatusInternalServerError)
		return
	}
	s.answer(w, out)
}

func (s *Server) prune(r *http.Request, ask wire.Prune) (out wire.Pruned, err error) {
	var filters []string
	if len(ask.Filters) > 0 { // several would be alternatives
		filters = []string{strings.Join(ask.Filters, ",")}
	}
	stream, err := s.client.Prune(r.Context(), &controlapi.PruneRequest{
		All: ask.All, Filter: filters, KeepDuration: int64(ask.KeepFor), ReservedSpace: ask.ReservedSpace, MaxUsedSpace: ask.MaxUsed, MinFreeSpace: ask.MinFree,
	})
	for err == nil {
		var one *controlapi.UsageRecord
		if one, err = stream.Recv(); err == nil {
			out.IDs, out.Bytes = append(out.IDs, one.ID), out.Bytes+one.Size
		}
	}
	if errors.Is(err, io.EOF) {
		return out, nil
	}
	return out, err
}

func (s *Server) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("answer not written", "op", "build.answer", "err", err)
	}
}
