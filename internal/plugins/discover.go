package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// Places are the folders in which plugins are found.
type Places struct {
	Sockets string   // NAME.sock, NAME/NAME.sock
	Specs   []string // NAME.spec, NAME.json, and each of them in a folder NAME
}

// Docker are the places of Docker's plugins.
func Docker() Places {
	return Places{Sockets: "/run/docker/plugins", Specs: []string{"/etc/docker/plugins", "/usr/lib/docker/plugins"}}
}

// Address is where a plugin listens.
type Address struct {
	URL string // "unix:///run/docker/plugins/x.sock", "tcp://localhost:8080", "https://example.org"
	TLS *TLS   // of https
}

// TLS is how a plugin is spoken to by https: the fields of a .json file.
type TLS struct {
	InsecureSkipVerify        bool
	CAFile, CertFile, KeyFile string
}

const (
	// maxSpec bounds what is read of a .spec or .json file, in bytes.
	maxSpec = 64 << 10
	// maxListed bounds how many plugins are listed.
	maxListed = 1024
)

// names are what plugins can be called: what is a file's name, and cannot lead elsewhere.
var names = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.:-]{0,127}$`)

// notFound is Docker's word for a plugin that is not there.
func notFound(name string) error { return model.Errorf(model.NotFound, "plugin %q not found", name) }

// find looks a plugin up in its places: a socket before a .spec before a .json file, as
// Docker does. Errors: NotFound; Unfit for a file that says nothing useful.
func (p Places) find(name string) (Address, error) {
	if !names.MatchString(name) {
		return Address{}, notFound(name)
	}
	for _, path := range candidates(p.Sockets, name, ".sock") {
		if i, err := os.Stat(path); err == nil && i.Mode()&fs.ModeSocket != 0 {
			return Address{URL: "unix://" + path}, nil
		}
	}
	for _, folder := range p.Specs {
		for _, kind := range []struct {
			extension string
			parse     func([]byte) (Address, error)
		}{{".spec", parseSpec}, {".json", parseJSON}} {
			for _, path := range candidates(folder, name, kind.extension) {
				raw, err := readSpec(path)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				var a Address
				if err == nil {
					a, err = kind.parse(raw)
				}
				if err != nil {
					return Address{}, model.Errorf(model.Unfit, "legacy plugin: %s: %w", path, err)
				}
				return a, nil
			}
		}
	}
	return Address{}, notFound(name)
}

func candidates(folder, name, extension string) []string {
	return []string{filepath.Join(folder, name+extension), filepath.Join(folder, name, name+extension)}
}

func readSpec(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is not a regular file"))
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSpec+1))
	if err == nil && len(raw) > maxSpec {
		err = fmt.Errorf("it is longer than %d bytes", maxSpec)
	}
	return raw, err
}

// parseSpec reads a .spec file: a URL.
func parseSpec(raw []byte) (Address, error) { return address(strings.TrimSpace(string(raw)), nil) }

// parseJSON reads a .json file. Without a CA file, nobody vouches for the plugin, as
// with Docker.
func parseJSON(raw []byte) (Address, error) {
	var spec struct {
		Addr      string
		TLSConfig *TLS
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return Address{}, err
	}
	if t := spec.TLSConfig; t != nil && t.CAFile == "" {
		t.InsecureSkipVerify = true
	}
	return address(spec.Addr, spec.TLSConfig)
}

// address checks a URL. What has no host is a path.
func address(text string, t *TLS) (Address, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return Address{}, err
	case u.Scheme == "":
		return Address{}, errors.New("Unknown protocol") //nolint:staticcheck // Docker's word
	case !slices.Contains([]string{"unix", "tcp", "http", "https"}, u.Scheme):
		return Address{}, fmt.Errorf("unknown protocol %.16q: there are unix, tcp, http and https", u.Scheme)
	case u.Scheme == "unix" && !filepath.IsAbs(u.Path), u.Scheme != "unix" && u.Host == "":
		return Address{}, fmt.Errorf("%.256q leads nowhere", text)
	}
	return Address{URL: text, TLS: t}, nil
}

// list returns the names of plugins that are in their places, in order. It looks at
// names only.
func (p Places) list() []string {
	found := map[string]bool{}
	add := func(name string) {
		if names.MatchString(name) && len(found) < maxListed {
			found[name] = true
		}
	}
	for _, e := range entries(p.Sockets) {
		path := filepath.Join(p.Sockets, e.Name())
		name, is := strings.CutSuffix(e.Name(), ".sock")
		if e.IsDir() {
			name, path, is = e.Name(), filepath.Join(path, e.Name()+".sock"), true
		}
		if i, err := os.Stat(path); is && err == nil && i.Mode()&fs.ModeSocket != 0 {
			add(name)
		}
	}
	for _, folder := range p.Specs {
		for _, e := range entries(folder) {
			for _, extension := range []string{".spec", ".json"} {
				name, is := strings.CutSuffix(e.Name(), extension)
				if e.IsDir() {
					_, err := os.Stat(filepath.Join(folder, e.Name(), e.Name()+extension))
					name, is = e.Name(), err == nil
				}
				if is {
					add(name)
				}
			}
		}
	}
	var out []string
	for name := range found {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// entries reads a folder that may not be there.
func entries(folder string) []fs.DirEntry {
	d, err := os.Open(folder)
	if err != nil {
		return nil
	}
	defer d.Close()
	out, _ := d.ReadDir(maxListed)
	return out
}
