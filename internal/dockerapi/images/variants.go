package images

import (
	"github.com/moby/moby/api/types/image"
	digest "github.com/opencontainers/go-digest"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// manifestsOf shows what an image consists of.
func manifestsOf(r *httpkit.Request, images Lister, i model.Image) ([]image.ManifestSummary, error) {
	all, err := images.Manifests(r.Context(), string(i.ID))
	if err != nil {
		return nil, err
	}
	var out []image.ManifestSummary
	for _, m := range all {
		one := image.ManifestSummary{ID: m.Descriptor.Digest, Descriptor: descriptorOf(m.Descriptor), Available: m.Available, Kind: image.ManifestKindImage}
		one.Size.Content, one.Size.Total = m.Content, m.Content+m.Unpacked
		if m.Of != "" {
			one.Kind, one.AttestationData = image.ManifestKindAttestation, &image.AttestationProperties{For: digest.Digest(m.Of)}
		} else {
			one.ImageData = &image.ImageProperties{Platform: platformOf(m.Platform), Containers: []string{}}
			one.ImageData.Size.Unpacked = m.Unpacked
		}
		out = append(out, one)
	}
	return out, nil
}

// platformList reads the platforms that images are to be saved or loaded for.
func platformList(r *httpkit.Request) ([]string, error) {
	texts := r.Query["platform"]
	switch {
	case r.Version < 48:
		return nil, nil
	case r.Version < 52 && len(texts) > 1:
		return nil, model.Errorf(model.Invalid, "multiple platform parameters are not supported in this API version; use API version 1.52 or later")
	}
	return jsonPlatforms(texts)
}

func jsonPlatforms(texts []string) (out []string, err error) {
	for _, text := range texts {
		p, err := jsonPlatform(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// layerUsage returns how many bytes of each image belong to others too, and how many all layers
// have together. A layer is what it is on top of those below it.
func layerUsage(all []model.Image) (shared map[model.ImageID]int64, total int64) {
	users, sizes := map[string]int{}, map[string]int64{}
	each := func(i model.Image, visit func(chain string, size int64)) {
		chain := ""
		for n, size := range i.LayerSizes {
			chain += i.Layers[n]
			visit(chain, size)
		}
	}
	for _, i := range all {
		each(i, func(chain string, size int64) { users[chain]++; sizes[chain] = size })
	}
	for _, size := range sizes {
		total += size
	}
	shared = map[model.ImageID]int64{}
	for _, i := range all {
		each(i, func(chain string, size int64) {
			if users[chain] > 1 {
				shared[i.ID] += size
			}
		})
	}
	return shared, total
}
