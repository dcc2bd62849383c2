package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	spec "github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// authTries is how often a registry is asked that says each time that one has to be known.
	authTries = 3
	// tagsLimit bounds how many tags a repository may have, tagPages in how many answers.
	tagsLimit = 100_000
	tagPages  = 1000
	// platformsLimit bounds of how many platforms of an index is told.
	platformsLimit = 4096
)

// Tags returns the tags of a repository, as the registry orders them.
func (r *Registries) Tags(ctx context.Context, repository string, auth model.RegistryAuth) ([]string, error) {
	named, err := reference.ParseNormalizedNamed(repository)
	if err != nil {
		return nil, model.Errorf(model.Invalid, "%w", err)
	}
	hosts, err := r.hosts(reference.Domain(named), reference.Domain(named), auth)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, h := range hosts {
		tags, err := tagsOf(ctx, h, named)
		if err == nil {
			return tags, nil
		}
		if failed == nil {
			failed = err
		}
	}
	return nil, Explain(failed, named)
}

// tagsOf asks one host for all tags, page by page (distribution-spec, "Listing Tags").
func tagsOf(ctx context.Context, h docker.RegistryHost, named reference.Named) ([]string, error) {
	var out []string
	page := "/" + reference.Path(named) + "/tags/list"
	for range tagPages {
		var answer struct {
			Tags []string `json:"tags"`
		}
		header, err := document(ctx, h, named, page, &answer)
		if err != nil {
			return nil, err
		}
		for _, tag := range answer.Tags {
			if _, err := reference.WithTag(reference.TrimNamed(named), tag); err != nil {
				continue // is no tag, whatever it is
			}
			out = append(out, tag)
		}
		if len(out) > tagsLimit {
			return nil, model.Errorf(model.Unfit, "%s has more than %d tags", named, tagsLimit)
		}
		next := nextPage(header.Get("Link"))
		if next == "" {
			return out, nil
		}
		page = "/" + reference.Path(named) + "/tags/list?" + next
	}
	return nil, model.Errorf(model.Unfit, "the list of tags of %s does not end", named)
}

// nextPage returns the query of the page after this one, of a header `Link: </…?query>; rel="next"`
// (RFC 8288); "" if this is the last. Of the address only the query is taken: pages do not lead
// elsewhere.
func nextPage(link string) string {
	target, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if !ok || !strings.Contains(rest, "next") {
		return ""
	}
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Query().Encode()
}

// Inspect returns what a registry has under a name, and for which platforms.
func (r *Registries) Inspect(ctx context.Context, ref string, auth model.RegistryAuth) (model.RemoteImage, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return model.RemoteImage{}, model.Errorf(model.Invalid, "%w", err)
	}
	resolver := r.Resolver(named, auth, nil)
	_, desc, err := resolver.Resolve(ctx, named.String())
	if err != nil {
		return model.RemoteImage{}, Explain(err, named)
	}
	fetcher, err := resolver.Fetcher(ctx, named.String())
	if err != nil {
		return model.RemoteImage{}, Explain(err, named)
	}
	fetch := func(d ocispec.Descriptor) ([]byte, error) {
		rc, err := fetcher.Fetch(ctx, d)
		if err != nil {
			return nil, err
		}
		defer rc.Close() //nolint:errcheck // was read
		return verified(rc, d)
	}
	raw, err := fetch(desc)
	if err != nil {
		return model.RemoteImage{}, Explain(err, named)
	}
	out := model.RemoteImage{MediaType: desc.MediaType, Digest: desc.Digest.String(), Size: desc.Size}
	switch {
	case images.IsIndexType(desc.MediaType):
		out.Platforms, err = indexPlatforms(raw)
	case images.IsManifestType(desc.MediaType):
		out.Platforms = manifestPlatform(raw, fetch)
	default:
		err = model.Errorf(model.Invalid, "unsupported media type %.80q", desc.MediaType)
	}
	return out, err
}

// verified reads a document and compares it with its descriptor.
func verified(from io.Reader, d ocispec.Descriptor) ([]byte, error) {
	if d.Size < 0 || d.Size > answerLimit {
		return nil, model.Errorf(model.Invalid, "%s, a document of an image, has %d bytes: at most %d are read", d.Digest, d.Size, answerLimit)
	}
	raw, err := io.ReadAll(io.LimitReader(from, answerLimit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(raw)) > answerLimit:
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLong, int64(answerLimit))
	case digest.FromBytes(raw) != d.Digest && d.Digest.Algorithm() == digest.SHA256:
		return nil, model.Errorf(model.Unfit, "manifest verification failed for digest %s", d.Digest)
	}
	return raw, nil
}

func indexPlatforms(raw []byte) ([]model.Platform, error) {
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, model.Errorf(model.Invalid, "index: %w", err)
	}
	var out []model.Platform
	for _, m := range index.Manifests[:min(len(index.Manifests), platformsLimit)] {
		p := ocispec.Platform{}
		if m.Platform != nil {
			p = *m.Platform
		}
		out = append(out, asPlatform(p))
	}
	return out, nil
}

// manifestPlatform looks into a manifest's configuration; where that cannot be read, nothing is
// known.
func manifestPlatform(raw []byte, fetch func(ocispec.Descriptor) ([]byte, error)) []model.Platform {
	var m ocispec.Manifest
	if json.Unmarshal(raw, &m) != nil || m.Config.Digest.Validate() != nil {
		return nil
	}
	config, err := fetch(m.Config)
	if err != nil {
		return nil
	}
	var p ocispec.Platform
	if json.Unmarshal(config, &p) != nil || p.OS == "" && p.Architecture == "" {
		return nil
	}
	return []model.Platform{asPlatform(p)}
}

func asPlatform(p ocispec.Platform) model.Platform {
	return model.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

// document asks a host for a JSON document below its API.
func document(ctx context.Context, h docker.RegistryHost, named reference.Named, page string, out any) (http.Header, error) {
	refspec, err := spec.Parse(named.Name())
	if err != nil {
		return nil, err
	}
	if ctx, err = docker.ContextWithRepositoryScope(ctx, refspec, false); err != nil {
		return nil, err
	}
	resp, err := ask(ctx, h, page)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // was read
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("repository %s not found: %w", reference.FamiliarName(named), errdefs.ErrNotFound)
	case resp.StatusCode != http.StatusOK:
		return nil, remoteerrors.NewUnexpectedStatusErr(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return nil, fmt.Errorf("%s did not answer as a registry does: %w", h.Host, err)
	}
	return resp.Header, nil
}

// ask sends a GET below a host's API, and says who one is once that is asked for. The caller
// closes the body.
func ask(ctx context.Context, h docker.RegistryHost, page string) (*http.Response, error) {
	var before []*http.Response
	for try := 1; ; try++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.Scheme+"://"+h.Host+h.Path+page, http.NoBody)
		if err != nil {
			return nil, err
		}
		if h.Authorizer != nil {
			if err := h.Authorizer.Authorize(ctx, req); err != nil {
				return nil, fmt.Errorf("failed to authorize: %w", err)
			}
		}
		resp, err := h.Client.Do(req)
		if err != nil {
			return nil, fmt.Errorf("failed to do request: %w", err)
		}
		if resp.StatusCode != http.StatusUnauthorized || h.Authorizer == nil || try == authTries {
			return resp, nil
		}
		before = append(before, resp)
		if err := h.Authorizer.AddResponses(ctx, before); err != nil {
			if errdefs.IsNotImplemented(err) {
				return resp, nil
			}
			return nil, errors.Join(err, resp.Body.Close())
		}
		if err := resp.Body.Close(); err != nil {
			return nil, err
		}
	}
}
