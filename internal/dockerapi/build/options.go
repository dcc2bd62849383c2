package build

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// parseOptions reads what POST /build is asked for. Errors are Invalid, or NotImplemented for what
// BuildKit cannot do.
func parseOptions(r *httpkit.Request) (wire.Build, error) {
	q := r.Query
	out := wire.Build{
		Dockerfile: q.Get("dockerfile"), Remote: q.Get("remote"), Session: q.Get("session"), Tags: q["t"], Target: q.Get("target"),
		Platform: q.Get("platform"), Network: q.Get("networkmode"), Hosts: q["extrahosts"], CgroupParent: q.Get("cgroupparent"),
		CPUs: q.Get("cpusetcpus"), MemoryNodes: q.Get("cpusetmems"), NoCache: r.Flag("nocache"), Pull: r.Flag("pull"), Quiet: r.Flag("q"),
		Auth: parseAuth(r.Header.Get("X-Registry-Config")),
	}
	if err := checkUnsupported(r); err != nil {
		return out, err
	}
	switch v := q.Get("version"); build.BuilderVersion(v) {
	case "", build.BuilderV1:
	case build.BuilderBuildKit:
		out.Trace = true
	default:
		return out, model.Errorf(model.Invalid, "invalid version %q", v)
	}
	if err := parseNumbers(q, &out); err != nil {
		return out, err
	}
	return out, parseJSON(q, &out)
}

// checkUnsupported refuses what has no effect here.
//
//docker:no image build --squash: as with a Docker Engine that is not experimental
//docker:no image build --security-opt: as with Docker Engine on Linux
//docker:partly image build --isolation: `default`, as with Docker Engine on Linux
func checkUnsupported(r *httpkit.Request) error {
	switch {
	case r.Flag("squash"):
		return model.Errorf(model.Invalid, "squash is only supported with experimental mode")
	case len(r.Query["securityopt"]) > 0:
		return model.Errorf(model.Invalid, "security options are not supported on linux")
	}
	switch i := container.Isolation(r.Query.Get("isolation")); {
	case i == "" || i.IsDefault():
	default:
		return model.Errorf(model.Invalid, "unsupported isolation: %q", i)
	}
	return nil
}

// parseNumbers reads limits. As with Docker those that cannot be read are none, but for
// shmsize.
func parseNumbers(q url.Values, out *wire.Build) error {
	for name, to := range map[string]*int64{
		"memory": &out.Memory, "memswap": &out.MemorySwap, "cpushares": &out.CPUShares, "cpuperiod": &out.CPUPeriod, "cpuquota": &out.CPUQuota,
	} {
		if n, err := strconv.ParseInt(q.Get(name), 10, 64); err == nil {
			*to = n
		}
	}
	if text := q.Get("shmsize"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return model.Errorf(model.Invalid, "invalid shmsize: %w", err)
		}
		out.ShmSize = n
	}
	return nil
}

// parseJSON reads the parameters that are JSON.
func parseJSON(q url.Values, out *wire.Build) error {
	var args map[string]*string // one without a value is there for a warning only
	var ulimits []*container.Ulimit
	for _, p := range []struct {
		name, complaint string
		to              any
	}{
		{"buildargs", "error reading build args", &args}, {"labels", "error reading labels", &out.Labels},
		{"cachefrom", "error reading cache-from", &out.CacheFrom}, {"ulimits", "error reading ulimit settings", &ulimits},
		{"outputs", "invalid outputs specified", &out.Outputs},
	} {
		if text := q.Get(p.name); text != "" {
			if err := json.Unmarshal([]byte(text), p.to); err != nil {
				return model.Errorf(model.Invalid, "%s: %w", p.complaint, err)
			}
		}
	}
	for name, value := range args {
		if value != nil {
			if out.Args == nil {
				out.Args = map[string]string{}
			}
			out.Args[name] = *value
		}
	}
	for _, u := range ulimits {
		if u == nil {
			return model.Errorf(model.Invalid, "error reading ulimit settings: one is null")
		}
		out.Ulimits = append(out.Ulimits, u.String())
	}
	return nil
}

// parseAuth reads credentials by registry. As with Docker those that cannot be read are none.
func parseAuth(header string) map[string]wire.Auth {
	raw, err := base64.URLEncoding.DecodeString(header)
	if err != nil || len(raw) == 0 {
		return nil
	}
	var all map[string]registry.AuthConfig
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	out := map[string]wire.Auth{}
	for host, a := range all {
		if one := (wire.Auth{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}); one != (wire.Auth{}) {
			out[host] = one
		}
	}
	return out
}

// cacheFilters are those by which entries of the cache are chosen, as BuildKit knows them.
var cacheFilters = []string{"id", "parent", "type", "description", "inuse", "shared", "private"}

// parsePrune reads what of the cache is to go. Errors are Invalid.
func parsePrune(r *httpkit.Request) (wire.Prune, error) {
	out := wire.Prune{All: r.Flag("all")}
	filters, err := r.Filters()
	if err != nil {
		return out, err
	}
	if err := filters.Check(append([]string{"until", "unused-for", "label", "label!"}, cacheFilters...)...); err != nil {
		return out, err
	}
	if out.KeepFor, err = keepFor(filters, time.Now()); err != nil {
		return out, err
	}
	for _, key := range cacheFilters {
		if text, ok, err := cacheFilter(key, filters[key]); err != nil {
			return out, err
		} else if ok {
			out.Filters = append(out.Filters, text)
		}
	}
	return out, parseSpace(r, &out)
}

// keepFor returns how long an entry must not have been used to go.
func keepFor(f query.Filters, now time.Time) (time.Duration, error) {
	until, old := f["until"], f["unused-for"] // the second is what it was called once
	if len(until) > 0 && len(old) > 0 {
		return 0, model.Errorf(model.Invalid, `conflicting filters: "until" and "unused-for"`)
	}
	name, all := "until", append(slices.Clone(until), old...)
	if len(old) > 0 {
		name = "unused-for"
	}
	switch len(all) {
	case 0:
		return 0, nil
	case 1:
		at, err := query.Moment(all[0], now)
		if err != nil {
			return 0, model.Errorf(model.Invalid, "%q filter expects a duration (e.g., '24h') or a timestamp: %w", name, err)
		}
		return now.Sub(at), nil
	}
	return 0, model.Errorf(model.Invalid, "filters expect only one value")
}

// cacheFilter writes one condition in BuildKit's words.
func cacheFilter(key string, values []string) (text string, ok bool, err error) {
	switch {
	case len(values) == 0:
		return "", false, nil
	case len(values) > 1:
		return "", false, model.Errorf(model.Invalid, "filters expect only one value")
	case strings.ContainsAny(values[0], ",\"'\\"):
		return "", false, model.Errorf(model.Invalid, "invalid value for filter %s: %q", key, values[0])
	case key == "id":
		return key + "~=" + values[0], true, nil
	}
	return key + "==" + values[0], true, nil
}

// parseSpace reads how much of the cache is to stay, in bytes.
func parseSpace(r *httpkit.Request, out *wire.Prune) error {
	for name, to := range map[string]*int64{
		"keep-storage": &out.ReservedSpace, "reserved-space": &out.ReservedSpace, "max-used-space": &out.MaxUsed, "min-free-space": &out.MinFree,
	} {
		text := r.Query.Get(name)
		if text == "" || name == "keep-storage" && r.Query.Get("reserved-space") != "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return model.Errorf(model.Invalid, "%s is in bytes and expects an integer, got %v: %w", name, text, err)
		}
		*to = n
	}
	return nil
}
