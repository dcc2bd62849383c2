package images

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/auxprogress"
	"github.com/moby/moby/api/types/jsonstream"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/dockerapi/registries"
	hub "github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/model"
)

// Mover moves images from and to registries.
type Mover interface {
	Pull(ctx context.Context, t hub.Transfer) error
	Push(ctx context.Context, t hub.Transfer) error
}

// pullImage is `docker pull`.
func (a *api) pullImage(w http.ResponseWriter, r *httpkit.Request) error {
	// With all tags wanted, clients may send a name that ends in a colon.
	name := withTag(strings.TrimSuffix(r.Query.Get("fromImage"), ":"), r.Query.Get("tag"))
	return a.transfer(w, r, a.Mover.Pull, hub.Transfer{Ref: name, Platform: r.Query.Get("platform"), Auth: registries.AuthOf(r)})
}

// pushImage is `docker push`.
func (a *api) pushImage(w http.ResponseWriter, r *httpkit.Request, name string) error {
	platform, err := formPlatform(r, "platform", 46)
	if err != nil {
		return err
	}
	return a.transfer(w, r, a.Mover.Push, hub.Transfer{Ref: withTag(name, r.Query.Get("tag")), Platform: platform, Auth: registries.AuthOf(r)})
}

// transfer answers with how far it is, and at last with what went wrong if something was sent
// before that.
func (a *api) transfer(w http.ResponseWriter, r *httpkit.Request, move func(context.Context, hub.Transfer) error, t hub.Transfer) error {
	out := httpkit.NewStream(w, r, "application/json")
	encoder := out.Encoder()
	t.Report = func(p model.Progress) {
		_ = encoder.Encode(message(p)) // a client that has gone ends the request's context
	}
	if err := move(r.Context(), t); err != nil {
		return out.Fail(err)
	}
	return out.Open()
}

// message is one line of progress as Docker's clients read it.
func message(p model.Progress) jsonstream.Message {
	out := jsonstream.Message{ID: p.ID, Status: p.Text}
	if !p.Message {
		out.Progress = &jsonstream.Progress{Current: p.Current, Total: p.Total, Units: p.Units, HideCounts: p.HideCounts}
	}
	if p.Replaced == nil {
		return out
	}
	raw, err := json.Marshal(auxprogress.ManifestPushedInsteadOfIndex{ManifestPushedInsteadOfIndex: true,
		OriginalIndex: descriptorOf(p.Replaced.Index), SelectedManifest: descriptorOf(p.Replaced.Manifest)})
	if err == nil {
		aux := json.RawMessage(raw)
		out.Aux = &aux
	}
	return out
}

// descriptorOf translates a descriptor.
func descriptorOf(d model.Descriptor) ocispec.Descriptor {
	out := ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size, Annotations: d.Annotations, ArtifactType: d.ArtifactType}
	if d.Platform != nil {
		p := platformOf(*d.Platform)
		out.Platform = &p
	}
	return out
}

func platformOf(p model.Platform) ocispec.Platform {
	return ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

// formPlatform reads a parameter that is a platform as JSON, and returns it as "linux/arm64"; "" if
// there is none, or the client's version has no such parameter.
func formPlatform(r *httpkit.Request, name string, since httpkit.Version) (string, error) {
	text := r.Query.Get(name)
	if text == "" || r.Version < since {
		return "", nil
	}
	return jsonPlatform(text)
}

func jsonPlatform(text string) (string, error) {
	var p ocispec.Platform
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return "", model.Errorf(model.Invalid, "failed to parse platform: %w", err)
	}
	if p.OS == "" || p.Architecture == "" && p.Variant != "" {
		return "", model.Errorf(model.Invalid, "both OS and Architecture must be provided")
	}
	return strings.TrimRight(strings.Join([]string{p.OS, p.Architecture, p.Variant}, "/"), "/"), nil
}
