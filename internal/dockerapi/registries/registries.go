// Package registries has the handlers that ask registries of images and change nothing here:
// login, search, and what a registry has under a name.
//
// It translates and decides nothing.
package registries

import (
	"context"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Registries knows the way to registries. Errors are in Docker's words.
type Registries interface {
	// Login asks a registry whether it knows somebody; token, if not empty, replaces the password.
	Login(ctx context.Context, auth model.RegistryAuth) (token string, err error)
	// Search asks for repositories by a word; limit is how many at most, 0 for 25.
	Search(ctx context.Context, term string, limit int, auth model.RegistryAuth) ([]model.FoundRepository, error)
	// Inspect returns what a registry has under a name.
	Inspect(ctx context.Context, ref string, auth model.RegistryAuth) (model.RemoteImage, error)
}

type api struct{ Registries }

// Routes returns the handlers of registries.
func Routes(r Registries) httpkit.Routes {
	a := &api{r}
	return httpkit.Routes{
		"POST /auth":                  a.login,
		"GET /images/search":          a.search,
		"GET /distribution/{rest...}": a.inspect,
	}
}

// AuthOf reads the credentials that come with a request. As with Docker those that cannot be read
// are none: what needs them says so.
func AuthOf(r *httpkit.Request) model.RegistryAuth {
	auth, err := authconfig.Decode(r.Header.Get(registry.AuthHeader))
	if err != nil {
		return model.RegistryAuth{}
	}
	return translated(*auth)
}

func translated(a registry.AuthConfig) model.RegistryAuth {
	return model.RegistryAuth{Username: a.Username, Password: a.Password, ServerAddress: a.ServerAddress, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
}

func (a *api) login(w http.ResponseWriter, r *httpkit.Request) error {
	var auth registry.AuthConfig
	if err := r.Decode(&auth); err != nil {
		return err
	}
	token, err := a.Login(r.Context(), translated(auth))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, registry.AuthResponse{Status: "Login Succeeded", IdentityToken: token})
}

// inspect answers GET /distribution/NAME/json.
func (a *api) inspect(w http.ResponseWriter, r *httpkit.Request) error {
	name, verb := httpkit.CutVerb(r.PathValue("rest"))
	if verb != "json" {
		return httpkit.ErrNoPage()
	}
	found, err := a.Inspect(r.Context(), name, AuthOf(r))
	if err != nil {
		return err
	}
	answer := registry.DistributionInspect{
		Descriptor: descriptorOf(found), Platforms: []ocispec.Platform{},
	}
	for _, p := range found.Platforms {
		answer.Platforms = append(answer.Platforms, ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures})
	}
	return httpkit.WriteJSON(w, http.StatusOK, answer)
}

func (a *api) search(w http.ResponseWriter, r *httpkit.Request) error {
	limit := 0
	if text := r.Query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
			return model.Errorf(model.Invalid, "invalid limit specified: %q", text)
		}
	}
	f, err := r.Filters()
	if err != nil {
		return err
	}
	keep, err := searchFilter(f)
	if err != nil {
		return err
	}
	found, err := a.Search(r.Context(), r.Query.Get("term"), limit, AuthOf(r))
	if err != nil {
		return err
	}
	out := []registry.SearchResult{}
	for _, one := range found {
		if keep(one) {
			out = append(out, registry.SearchResult{Name: one.Name, Description: one.Description, StarCount: one.Stars, IsOfficial: one.Official})
		}
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// searchFilter returns what tells whether a repository meets all filters. Nothing is automated any
// more.
func searchFilter(f query.Filters) (func(model.FoundRepository) bool, error) {
	if err := f.Check("is-automated", "is-official", "stars"); err != nil {
		return nil, err
	}
	automated, _, err := f.Bool("is-automated")
	if err != nil {
		return nil, err
	}
	official, wantsOfficial, err := f.Bool("is-official")
	if err != nil {
		return nil, err
	}
	stars := 0
	for _, text := range f["stars"] {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, model.Errorf(model.Invalid, "invalid filter 'stars=%s'", text)
		}
		stars = max(stars, n)
	}
	return func(one model.FoundRepository) bool {
		return !automated && (!wantsOfficial || one.Official == official) && one.Stars >= stars
	}, nil
}
