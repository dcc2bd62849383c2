package images

import (
	"net/http"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// loadImages stores the images of an archive. There is no progress to tell, so
// that "quiet" changes nothing.
func (a *api) loadImages(w http.ResponseWriter, r *httpkit.Request) error {
	platforms, err := platformList(r)
	if err != nil {
		return err
	}
	body := r.Stream()
	defer body.Close() //nolint:errcheck // was read
	images, err := a.Transfer.Load(r.Context(), platforms, body)
	if err != nil {
		return err
	}
	out := httpkit.NewStream(w, r, "application/json")
	encoder := out.Encoder()
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
	return out.Open() // an archive may be empty
}

// makeImage is `docker import` and `docker pull`.
//
//docker:partly POST /images/create, image import: from a file, not from a URL
func (a *api) makeImage(w http.ResponseWriter, r *httpkit.Request) error {
	switch source := r.Query.Get("fromSrc"); {
	case r.Query.Get("fromImage") != "":
		return a.pullImage(w, r)
	case source == "":
		return model.Errorf(model.Invalid, "neither fromImage nor fromSrc says what the image is made of")
	case source != "-":
		return model.Errorf(model.NotImplemented, "importing from a URL is not supported: fetch the file and import that")
	}
	body := r.Stream()
	defer body.Close() //nolint:errcheck // was read
	tag := ""
	if repo := r.Query.Get("repo"); repo != "" {
		tag = withTag(repo, r.Query.Get("tag"))
	}
	i, err := a.Transfer.Import(r.Context(), body, tag, r.Query["changes"])
	if err != nil {
		return err
	}
	out := httpkit.NewStream(w, r, "application/json")
	return out.Encoder().Encode(jsonstream.Message{Status: string(i.ID)})
}

func (a *api) saveImages(w http.ResponseWriter, r *httpkit.Request) error {
	return a.save(w, r, r.Query["names"])
}

// save sends images as an archive. What goes wrong after the first byte can only
// be shown by breaking off.
func (a *api) save(w http.ResponseWriter, r *httpkit.Request, names []string) error {
	platforms, err := platformList(r)
	if err != nil {
		return err
	}
	out := httpkit.NewStream(w, r, "application/x-tar")
	err = a.Transfer.Save(r.Context(), names, platforms, out)
	if err != nil && out.Opened() {
		a.log.Warn("archive broken off", "op", "image.save", "err", err)
		panic(http.ErrAbortHandler)
	}
	return err
}
