package dockerapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/linkspan/linkspan/internal/model"
)

// fakeMover knows the image here:1, and breaks off in the middle of broken:1.
type fakeMover struct{}

func (fakeMover) Pull(_ context.Context, ref, platform string, auth model.RegistryAuth, report func(model.Progress)) (model.Pulled, error) {
	if strings.Contains(ref, "gone") {
		return model.Pulled{}, model.Errorf(model.NotFound, "failed to resolve reference %q: not found", ref)
	}
	report(model.Progress{ID: "1", Text: "Pulling from library/here", Message: true})
	report(model.Progress{ID: "0123456789ab", Text: "Downloading", Current: 3, Total: 7})
	if strings.Contains(ref, "broken") {
		return model.Pulled{}, model.Errorf(model.Internal, "unexpected EOF")
	}
	report(model.Progress{Text: "for " + platform + " as " + auth.Username, Message: true})
	return model.Pulled{ID: "sha256:1", Name: ref, Repository: "here", Digest: "sha256:1", Newer: true}, nil
}

func (fakeMover) Push(_ context.Context, ref, platform string, _ model.RegistryAuth, report func(model.Progress)) error {
	report(model.Progress{ID: "0123456789ab", Text: "Pushed"})
	report(model.Progress{Text: ref + " " + platform, Message: true})
	return nil
}

func (fakeMover) DropAbandoned(context.Context) error { return nil }

// variants are arm64 and, of images that are called so, several more.
type variants struct{ *fakeImages }

func (v variants) FindFor(ctx context.Context, ref, platform string) (model.Image, error) {
	i, err := v.Find(ctx, ref)
	if err == nil && platform != "linux/arm64" {
		err = model.Errorf(model.NotFound, "image with reference %s was found but does not provide the specified platform (%s)", ref, platform)
	}
	i.Architecture = "arm64"
	return i, err
}

func (v variants) Manifests(_ context.Context, ref string) ([]model.ImageManifest, error) {
	out := []model.ImageManifest{
		{Descriptor: model.Descriptor{Digest: "sha256:11"}, Platform: model.Platform{OS: "linux", Architecture: "arm64"}, Available: true, Content: 3, Unpacked: 4},
		{Descriptor: model.Descriptor{Digest: "sha256:12"}, Of: "sha256:11"},
	}
	if strings.HasPrefix(ref, "several") {
		out = append(out, model.ImageManifest{Platform: model.Platform{OS: "linux", Architecture: "amd64"}, Available: true})
	}
	return out, nil
}

// fakeRegistries knows the user me, and one repository.
type fakeRegistries struct{}

func (fakeRegistries) Tags(context.Context, string, model.RegistryAuth) ([]string, error) {
	return []string{"1", "2"}, nil
}

func (fakeRegistries) Login(_ context.Context, auth model.RegistryAuth) (string, error) {
	if auth.Username != "me" {
		return "", model.Errorf(model.Unauthorized, "login attempt to https://%s/v2/ failed with status: 401 Unauthorized", auth.ServerAddress)
	}
	return "token", nil
}

func (fakeRegistries) Search(_ context.Context, term string, limit int, _ model.RegistryAuth) ([]model.FoundRepository, error) {
	return []model.FoundRepository{{Name: term, Stars: 10, Official: true}, {Name: "other", Stars: limit}}, nil
}

func (fakeRegistries) Inspect(_ context.Context, ref string, _ model.RegistryAuth) (model.RemoteImage, error) {
	return model.RemoteImage{MediaType: "application/vnd.oci.image.index.v1+json", Digest: "sha256:" + ref, Size: 7,
		Platforms: []model.Platform{{OS: "linux", Architecture: "arm64", Variant: "v8"}}}, nil
}

func TestPullAndPushTellHowFarTheyAre(t *testing.T) {
	b := newBench(t)
	b.want(t, 200, `{"status":"Pulling from library/here","id":"1"}
{"status":"Downloading","progressDetail":{"current":3,"total":7},"id":"0123456789ab"}
`, "POST", "/images/create?fromImage=here&tag=1")
	b.want(t, 200, `"for linux/arm64 as `, "POST", "/images/create?fromImage=here&tag=1&platform=linux/arm64")
	b.want(t, 404, `failed to resolve reference \"gone:1\": not found`, "POST", "/images/create?fromImage=gone&tag=1")
	b.want(t, 200, `{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}`, "POST", "/images/create?fromImage=broken&tag=1")
	b.want(t, 400, "must be lowercase", "POST", "/images/create?fromImage=Here&tag=1")
	b.want(t, 200, `{"status":"Pushed","progressDetail":{},"id":"0123456789ab"}`, "POST", "/images/here/push?tag=1")
	b.want(t, 200, "here:1 linux/arm64", "POST", `/images/here/push?tag=1&platform={"os":"linux","architecture":"arm64"}`)
	b.want(t, 400, "failed to parse platform", "POST", `/images/here/push?tag=1&platform=linux`)
}

// TestCredentials: those in the header are used, and those that cannot be read are none.
func TestCredentials(t *testing.T) {
	b := newBench(t)
	good, err := authconfig.Encode(registry.AuthConfig{Username: "me", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{good: " as me", "?": ` as "`, "": ` as "`} {
		r, w := httptest.NewRequest("POST", "/images/create?fromImage=here&tag=1", http.NoBody), httptest.NewRecorder()
		r.Header.Set(registry.AuthHeader, header)
		b.ServeHTTP(w, r)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("header %q: %d %s, want %s", header, w.Code, w.Body, want)
		}
	}
}

func TestRegistriesAreAsked(t *testing.T) {
	b := newBench(t)
	b.want(t, 200, `{"IdentityToken":"token","Status":"Login Succeeded"}`, "POST", "/auth", `{"username":"me","serveraddress":"r.example"}`)
	b.want(t, 401, "login attempt to https://r.example/v2/ failed with status: 401 Unauthorized", "POST", "/auth", `{"username":"you","serveraddress":"r.example"}`)
	b.want(t, 200, `"name":"word"`, "GET", `/images/search?term=word&filters={"stars":["5"]}`)
	b.want(t, 400, "invalid limit specified", "GET", "/images/search?term=word&limit=x")
	b.want(t, 400, "invalid filter 'stars=many'", "GET", `/images/search?term=word&filters={"stars":["many"]}`)
	b.want(t, 400, "invalid filter", "GET", `/images/search?term=word&filters={"colour":["red"]}`)
	b.want(t, 200, `"digest":"sha256:a/b"`, "GET", "/distribution/a/b/json")
	b.want(t, 200, `"Platforms":[{"architecture":"arm64","os":"linux","variant":"v8"}]`, "GET", "/distribution/a/b/json")
	b.want(t, 404, "page not found", "GET", "/distribution/a/b")
}

// TestVariants: an image shows what it consists of to who asks, and one platform's part.
func TestVariants(t *testing.T) {
	b := newBench(t)
	b.images.images[0].Target = model.Descriptor{Digest: "sha256:10", Size: 5}
	b.images.images[0].History = []model.ImageHistory{{CreatedBy: "first"}, {CreatedBy: "none", EmptyLayer: true}, {CreatedBy: "second"}}
	b.images.images[0].Tags, b.images.images[0].Digests = nil, []string{"busybox@sha256:10"}
	b.want(t, 200, `"RepoTags":["busybox@sha256:10"]`, "GET", "/images/json")
	b.images.images[0].Tags = []string{"busybox:latest"}
	b.images.images[0].LayerSizes, b.images.images[0].Layers = []int64{3, 4}, []string{"a", "b"}
	b.want(t, 200, `"Descriptor":{"mediaType":"","digest":"sha256:10","size":5}`, "GET", "/images/json")
	b.want(t, 200, `"Manifests":[{"ID":"sha256:11"`, "GET", "/images/json?manifests=1")
	b.want(t, 200, `"Kind":"attestation","AttestationData":{"For":"sha256:11"}`, "GET", "/images/busybox:latest/json?manifests=1")
	b.want(t, 200, `"Size":{"Content":3,"Total":7},"Kind":"image"`, "GET", "/images/busybox:latest/json?manifests=1")
	b.want(t, 200, `"Architecture":"arm64"`, "GET", `/images/busybox:latest/json?platform={"os":"linux","architecture":"arm64"}`)
	b.want(t, 404, "does not provide the specified platform (linux/riscv64)", "GET", `/images/busybox:latest/json?platform={"os":"linux","architecture":"riscv64"}`)
	b.want(t, 400, "conflicting options: manifests and platform options cannot both be set", "GET", `/images/busybox:latest/json?manifests=1&platform={"os":"linux"}`)
	b.want(t, 400, "failed to parse platform", "GET", `/images/get?names=busybox&platform=arm`)
	b.images.images[0].Tags = []string{"busybox:latest", "several:1"}
	const arm, riscv = `?platforms={"os":"linux","architecture":"arm64"}`, `?platforms={"os":"linux","architecture":"riscv64"}`
	b.want(t, 400, "failed to parse platform", "DELETE", `/images/busybox:latest?platforms=arm`)
	b.want(t, 404, "does not provide the specified platform (linux/riscv64)", "DELETE", "/images/busybox:latest"+riscv)
	b.want(t, 501, "removing some of the platforms of an image is not supported: remove several:1", "DELETE", "/images/several:1"+arm)
	b.want(t, 200, `[{"Untagged":"several:1"}`, "DELETE", "/v1.49/images/several:1"+arm)
	b.want(t, 200, `"Untagged":"busybox:latest"`, "DELETE", "/images/busybox:latest"+arm)
	b.want(t, 200, `"SharedSize":0`, "GET", "/images/json?shared-size=1")
	b.want(t, 200, `"SharedSize":-1`, "GET", "/images/json")
	b.want(t, 200, `"CreatedBy":"second","Id":"sha256:1","Size":4`, "GET", "/images/busybox:latest/history")
	b.want(t, 200, `"CreatedBy":"none","Id":"<missing>","Size":0`, "GET", "/images/busybox:latest/history")
}
