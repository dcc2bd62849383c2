// Package plugins has the handlers of plugins: those that are found on the host are listed.
// Managed ones, which Docker pulls as images and runs, are refused.
package plugins

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/plugin"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Plugins lists the plugins that are known, by name.
type Plugins interface {
	List() []facts.Plugin
}

type api struct{ Plugins Plugins }

// Routes returns the handlers of plugins. Without a list there are none.
func Routes(p Plugins) httpkit.Routes {
	a := &api{p}
	routes := httpkit.Routes{
		"GET /plugins":              a.list,
		"GET /plugins/{name...}":    a.inspect,
		"GET /plugins/privileges":   managed,
		"POST /plugins/pull":        managed,
		"POST /plugins/create":      managed,
		"POST /plugins/{name...}":   managed, // enable, disable, set, push, upgrade
		"DELETE /plugins/{name...}": managed,
	}
	return routes
}

// managed refuses what only a managed plugin has.
//
//docker:no plugin create, plugin disable, plugin enable, plugin install, plugin push, plugin rm, plugin set, plugin upgrade: managed plugins are not supported; a plugin's own program is found by its socket
func managed(http.ResponseWriter, *httpkit.Request) error {
	return &model.Error{Kind: model.NotImplemented, Err: errManaged,
		Way: "run the plugin's own program, on the host or in a container: it is found by its socket /run/docker/plugins/NAME.sock, or by a file NAME.spec or NAME.json in /etc/docker/plugins"}
}

var errManaged = errors.New("managed plugins are not supported")

func (a *api) list(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	if err := f.Check("enabled", "capability"); err != nil {
		return err
	}
	enabled, given, err := f.Bool("enabled")
	if err != nil {
		return err
	}
	out := []plugin.Plugin{}
	for _, p := range a.all() {
		if given && p.Active != enabled {
			continue
		}
		if f.Has("capability") && !slices.ContainsFunc(p.Implements, func(role string) bool { return f.MatchExact("capability", strings.ToLower(role)) }) {
			continue
		}
		out = append(out, show(p))
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

func (a *api) all() []facts.Plugin {
	if a.Plugins == nil {
		return nil
	}
	return a.Plugins.List()
}

func (a *api) inspect(w http.ResponseWriter, r *httpkit.Request) error {
	name, ok := strings.CutSuffix(r.PathValue("name"), "/json")
	if !ok {
		return model.Errorf(model.NotFound, "page not found")
	}
	for _, p := range a.all() {
		if p.Name == name || id(p.Name) == name || len(name) >= model.ShortLen && strings.HasPrefix(id(p.Name), name) {
			return httpkit.WriteJSON(w, http.StatusOK, show(p))
		}
	}
	return model.Errorf(model.NotFound, "plugin %q not found", name)
}

// id is what the docker command shows of a plugin; it follows from the name.
func id(name string) string {
	sum := sha256.Sum256([]byte("plugin\x00" + name))
	return hex.EncodeToString(sum[:])
}

// show translates a plugin. Its protocol has no more than its roles to tell.
func show(p facts.Plugin) plugin.Plugin {
	out := plugin.Plugin{ID: id(p.Name), Name: p.Name, Enabled: p.Active, Config: plugin.Config{
		Description: "plugin at " + p.Address, Entrypoint: []string{}, Env: []plugin.Env{}, Mounts: []plugin.Mount{},
		Interface: plugin.Interface{Socket: strings.TrimPrefix(p.Address, "unix://"), Types: []plugin.CapabilityID{}},
	}, Settings: plugin.Settings{Args: []string{}, Devices: []plugin.Device{}, Env: []string{}, Mounts: []plugin.Mount{}}}
	for _, role := range p.Implements {
		if strings.ContainsAny(role, "./") {
			continue // no word for a role
		}
		out.Config.Interface.Types = append(out.Config.Interface.Types, plugin.CapabilityID{Prefix: "docker", Capability: strings.ToLower(role), Version: "1.0"})
	}
	return out
}
