package images

import (
	"context"
	"path"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// List returns the images that meet all filters. Of the names of an image, only those
// are returned that the filter reference asks for. Errors: Invalid for a filter;
// NotFound for an image that one names.
func (m *Manager) List(ctx context.Context, f query.Filters) ([]model.Image, error) {
	if err := f.Check("before", "dangling", "label", "label!", "reference", "since", "until"); err != nil {
		return nil, err
	}
	keep, err := m.filter(ctx, f)
	if err != nil {
		return nil, err
	}
	all, err := m.store.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []model.Image
	for _, i := range all {
		if keep(i) {
			i.Tags, i.Digests = matchingNames(f, i.Tags), matchingNames(f, i.Digests)
			out = append(out, i)
		}
	}
	return out, nil
}

// filter returns what tells whether an image meets all filters.
func (m *Manager) filter(ctx context.Context, f query.Filters) (func(model.Image) bool, error) {
	dangling, wantsDangling, err := f.Bool("dangling")
	if err != nil {
		return nil, err
	}
	var after, before time.Time
	for _, bound := range []struct {
		key string
		to  *time.Time
	}{{"since", &after}, {"before", &before}} {
		for _, ref := range f[bound.key] {
			i, err := m.store.Find(ctx, ref)
			if err != nil {
				return nil, err
			}
			*bound.to = i.Created
		}
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return nil, err
	}
	return func(i model.Image) bool {
		switch {
		case wantsDangling && dangling != isDangling(i),
			!after.IsZero() && !i.Created.After(after),
			!before.IsZero() && !i.Created.Before(before),
			!until.IsZero() && i.Created.After(until):
			return false
		}
		return matchReference(f, i) && f.MatchAllLabels(i.Config.Labels)
	}, nil
}

// isDangling tells whether an image has no name, not even one by digest.
func isDangling(i model.Image) bool { return len(i.Tags)+len(i.Digests) == 0 }

// matchReference tells whether one of an image's names is asked for.
func matchReference(f query.Filters, i model.Image) bool {
	return !f.Has("reference") || len(matchingNames(f, i.Tags))+len(matchingNames(f, i.Digests)) > 0
}

// matchingNames returns the names that the filter reference asks for, by patterns
// as in path.Match; a pattern without a tag stands for all tags. The other names
// of the same image are not shown. Never nil.
func matchingNames(f query.Filters, names []string) []string {
	out := []string{}
	for _, name := range names {
		asked := f.Match("reference", func(pattern string) bool {
			for _, form := range []string{name, WithoutTag(name)} {
				if matched, err := path.Match(pattern, form); err == nil && matched {
					return true
				}
			}
			return false
		})
		if asked {
			out = append(out, name)
		}
	}
	return out
}
