package registry

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	searchTimeout  = 30 * time.Second
	defaultResults = 25
	maxResults     = 100
)

// Search asks Docker Hub, or the index whose host the term begins with, for repositories by a word.
// limit is how many at most, 0 for 25. Only what speaks the old protocol with an index can be
// searched: registries of today have none.
func (r *Registries) Search(ctx context.Context, term string, limit int, auth model.RegistryAuth) ([]model.FoundRepository, error) {
	if strings.Contains(term, "://") {
		return nil, model.Errorf(model.Invalid, "invalid repository name: repository name (%s) should not have a scheme", term)
	}
	if limit == 0 {
		limit = defaultResults
	}
	if limit < 1 || limit > maxResults {
		return nil, model.Errorf(model.Invalid, "limit %d is outside the range of [1, %d]", limit, maxResults)
	}
	index, words := splitTerm(term)
	name := index
	if index == hubName {
		index, words = hubAuth, strings.TrimPrefix(words, "library/")
	}
	hosts, err := r.hosts(index, index, auth)
	if err != nil {
		return nil, err
	}
	h := hosts[len(hosts)-1]
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	query := url.Values{"q": {words}, "n": {strconv.Itoa(limit)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.Scheme+"://"+h.Host+"/v1/search?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, model.Errorf(model.Invalid, "%w", err)
	}
	if auth.Username != "" && hostOf(auth.ServerAddress, name) == hostOf("", name) {
		req.SetBasicAuth(auth.Username, auth.Password)
	}
	resp, err := h.Client.Do(req)
	if err != nil {
		return nil, &model.Error{Op: "registry.search", Kind: model.Unfit, Err: err, Way: wayOut(err)}
	}
	defer resp.Body.Close() //nolint:errcheck // was read
	if resp.StatusCode != http.StatusOK {
		return nil, &model.Error{Op: "registry.search", Kind: model.Unfit, Err: model.Errorf(model.Unfit, "Unexpected status code %d", resp.StatusCode),
			Way: h.Host + " cannot be searched: only Docker Hub, and indexes with its old protocol, can"}
	}
	return found(resp, h.Host)
}

// found reads the answer to a search.
func found(resp *http.Response, host string) ([]model.FoundRepository, error) {
	var answer struct {
		Results []struct {
			Name        string `json:"name"`
			Description string `json:"description"`
			Stars       int    `json:"star_count"`
			Official    bool   `json:"is_official"`
		} `json:"results"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, model.Errorf(model.Unfit, "%s did not answer as an index does: %w", host, err)
	}
	var out []model.FoundRepository
	for _, one := range answer.Results[:min(len(answer.Results), maxResults)] {
		out = append(out, model.FoundRepository{Name: printable(one.Name), Description: printable(one.Description), Stars: one.Stars, Official: one.Official})
	}
	return out, nil
}

// splitTerm splits what is looked for into an index and words.
func splitTerm(term string) (index, words string) {
	first, rest, ok := strings.Cut(term, "/")
	if !ok || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return hubName, term
	}
	return first, rest
}
