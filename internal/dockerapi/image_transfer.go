package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/linkspan/linkspan/internal/model"
)

// loadImages stores the images of an archive. There is no progress to tell, so
// that "quiet" changes nothing.
func (s *server) loadImages(w http.ResponseWriter, r *request) error {
	body := r.stream()
	defer body.Close() //nolint:errcheck // was read
	images, err := s.Transfer.Load(r.Context(), body)
	if err != nil {
		return err
	}
	out := newStream(w, r, "application/json")
	encoder := out.encoder()
	for _, i := range images {
		lines := make([]string, 0, 1)
		for _, tag := range i.Tags {
			lines = append(lines, "Loaded image: "+tag+"\n")
		}
		if len(lines) == 0 {
			lines = append(lines, "Loaded image ID: "+string(i.ID)+"\n")
		}
		for _, line := range lines {
			if err := encoder.Encode(jsonstream.Message{Stream: line}); err != nil {
				return err
			}
		}
	}
	return out.open() // an archive may be empty
}

// makeImage is `docker import` and would be `docker pull`.
func (s *server) makeImage(w http.ResponseWriter, r *request) error {
	switch source := r.query.Get("fromSrc"); {
	case r.query.Get("fromImage") != "":
		return model.Errorf(model.NotImplemented, "%s", noPull)
	case source == "":
		return model.Errorf(model.Invalid, "neither fromImage nor fromSrc says what the image is made of")
	case source != "-":
		return model.Errorf(model.NotImplemented, "importing from a URL is not supported: fetch the file and import that")
	}
	body := r.stream()
	defer body.Close() //nolint:errcheck // was read
	tag := ""
	if repo := r.query.Get("repo"); repo != "" {
		tag = withTag(repo, r.query.Get("tag"))
	}
	i, err := s.Transfer.Import(r.Context(), body, tag, r.query["changes"])
	if err != nil {
		return err
	}
	out := newStream(w, r, "application/json")
	return out.encoder().Encode(jsonstream.Message{Status: string(i.ID)})
}

func (s *server) saveImages(w http.ResponseWriter, r *request) error {
	return s.save(w, r, r.query["names"])
}

// save sends images as an archive. What goes wrong after the first byte can only
// be shown by breaking off.
func (s *server) save(w http.ResponseWriter, r *request, names []string) error {
	out := newStream(w, r, "application/x-tar")
	err := s.Transfer.Save(r.Context(), names, out)
	if err != nil && out.opened() {
		s.log.Warn("archive broken off", "op", "image.save", "err", err)
		panic(http.ErrAbortHandler)
	}
	return err
}
