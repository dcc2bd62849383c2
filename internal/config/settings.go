package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/linkspan/linkspan/internal/ociruntimes"
)

// Settings are what can change while the daemon runs. They are never changed in
// place: Reload makes new ones.
type Settings struct {
	Debug              bool
	LiveRestore        bool
	ShutdownTimeout    int // seconds
	Labels             []string
	InsecureRegistries []string // hosts, with or without a port, and subnets
	RegistryMirrors    []string // URLs that end in a slash
	// MaxDownloads and MaxUploads are how many layers of an image are moved at a
	// time, DownloadAttempts how often one is tried.
	MaxDownloads, MaxUploads, DownloadAttempts int
	Features                                   map[string]bool

	// Runtimes are those that containers may have besides runc, and which is the default.
	Runtimes ociruntimes.Set
	// CgroupnsMode is --default-cgroupns-mode; empty: as the machine's cgroups have it.
	CgroupnsMode string
	ShmSize      int64 // bytes, of containers' /dev/shm; 0: as big as it always is
}

// Defaults that a setting goes back to if it is no longer in the file, as with
// dockerd; the others stay as they are.
const (
	defaultDownloads = 3
	defaultUploads   = 5
	defaultAttempts  = 5
)

// defaultShmSize is how large containers' /dev/shm is unless a user says other, in bytes.
const defaultShmSize = 64 << 20

// define declares the flags of what can change.
//
//docker:partly dockerd --live-restore: the default is on
func (s *Settings) define(flags *pflag.FlagSet) {
	s.Features = map[string]bool{}
	flags.BoolVarP(&s.Debug, "debug", "D", false, "say in the log what is done")
	flags.BoolVar(&s.LiveRestore, "live-restore", true, "containers outlive the daemon")
	flags.IntVar(&s.ShutdownTimeout, "shutdown-timeout", 15, "seconds to wait for containers when the daemon ends with live-restore off")
	flags.StringArrayVar(&s.Labels, "label", nil, "key=value label of the daemon")
	flags.StringArrayVar(&s.InsecureRegistries, "insecure-registry", nil, "registry that need not have a certificate; may be repeated")
	flags.StringArrayVar(&s.RegistryMirrors, "registry-mirror", nil, "URL to ask before Docker Hub; may be repeated")
	flags.IntVar(&s.MaxDownloads, "max-concurrent-downloads", defaultDownloads, "how many layers are pulled at a time")
	flags.IntVar(&s.MaxUploads, "max-concurrent-uploads", defaultUploads, "how many layers are pushed at a time")
	flags.IntVar(&s.DownloadAttempts, "max-download-attempts", defaultAttempts, "how often a layer is tried")
	flags.StringVar(&s.Runtimes.Default, "default-runtime", "", "OCI runtime of containers that do not say; without it runc")
	flags.Var(runtimesValue{&s.Runtimes.Defined}, "add-runtime", "name=path of a further OCI runtime; may be repeated")
	flags.StringVar(&s.CgroupnsMode, "default-cgroupns-mode", "", "private or host: what containers see of cgroups; without it private with cgroups of version 2")
	flags.Var(sizeValue{&s.ShmSize}, "default-shm-size", "size of containers' /dev/shm: 64M")
	flags.Var(truthsValue{s.Features}, "feature", "name=bool: dockerd's switches; none has an effect here")
}

// check refuses what makes no sense, in dockerd's words, and puts the rest into
// the form that is shown.
func (s *Settings) check() error {
	var err error
	if s.Labels, err = labels(s.Labels); err != nil {
		return err
	}
	for i, mirror := range s.RegistryMirrors {
		if s.RegistryMirrors[i], err = checkMirror(mirror); err != nil {
			return err
		}
	}
	for _, name := range s.InsecureRegistries {
		if strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") {
			return fmt.Errorf("invalid index name (%s). Cannot begin or end with a hyphen", name)
		}
	}
	for _, limit := range []struct {
		what     string
		to       *int
		standard int
	}{{"max concurrent downloads", &s.MaxDownloads, defaultDownloads}, {"max concurrent uploads", &s.MaxUploads, defaultUploads},
		{"max download attempts", &s.DownloadAttempts, defaultAttempts}} {
		if *limit.to < 0 {
			return fmt.Errorf("invalid %s: %d", limit.what, *limit.to)
		}
		if *limit.to == 0 {
			*limit.to = limit.standard
		}
	}
	if !slices.Contains([]string{"", "private", "host"}, s.CgroupnsMode) {
		return fmt.Errorf(`invalid default cgroup namespace (%s): use "host" or "private"`, s.CgroupnsMode)
	}
	return s.Runtimes.Check()
}

// labels returns the labels of the daemon without repetitions.
func labels(list []string) ([]string, error) {
	var out []string
	seen := map[string]string{}
	for _, label := range list {
		key, value, ok := strings.Cut(label, "=")
		lower := strings.ToLower(key)
		reserved := func(space string) bool { return strings.HasPrefix(lower, space) }
		switch have, twice := seen[key]; {
		case !ok:
			return nil, fmt.Errorf("bad attribute format: %s", label)
		case slices.ContainsFunc([]string{"com.docker.", "io.docker.", "org.dockerproject."}, reserved):
			return nil, fmt.Errorf("label %s is not allowed: the namespaces com.docker.*, io.docker.*, and org.dockerproject.* are reserved for internal use", label)
		case twice && have != value:
			return nil, fmt.Errorf("conflict labels for %s=%s and %s=%s", key, value, key, have)
		case !twice:
			seen[key], out = value, append(out, label)
		}
	}
	return out, nil
}

// checkMirror returns a mirror's URL with the slash that it ends in.
func checkMirror(text string) (string, error) {
	if scheme, _, ok := strings.Cut(text, "://"); !ok || scheme == "" {
		return "", fmt.Errorf("invalid mirror: no scheme specified for %q: must use either 'https://' or 'http://'", text)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("invalid mirror: %q is not a valid URI: %w", text, err)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("invalid mirror: unsupported scheme %q in %q: must use either 'https://' or 'http://'", u.Scheme, u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("invalid mirror: query or fragment at end of the URI %q", u.Redacted())
	case u.User != nil:
		return "", fmt.Errorf("invalid mirror: username/password not allowed in URI %q", u.Redacted())
	}
	return strings.TrimSuffix(text, "/") + "/", nil
}

// Attributes returns the settings as dockerd's event "reload" has them.
func (s Settings) Attributes() map[string]string {
	return map[string]string{
		"debug":                    strconv.FormatBool(s.Debug),
		"live-restore":             strconv.FormatBool(s.LiveRestore),
		"shutdown-timeout":         strconv.Itoa(s.ShutdownTimeout),
		"labels":                   listed(s.Labels),
		"insecure-registries":      listed(s.InsecureRegistries),
		"registry-mirrors":         listed(s.RegistryMirrors),
		"max-concurrent-downloads": strconv.Itoa(s.MaxDownloads),
		"max-concurrent-uploads":   strconv.Itoa(s.MaxUploads),
		"max-download-attempts":    strconv.Itoa(s.DownloadAttempts),
		"features":                 fmt.Sprint(s.Features),
		"runtimes":                 s.runtimes(),
		"default-runtime":          s.Runtimes.Name(),
		"default-shm-size":         strconv.FormatInt(cmp.Or(s.ShmSize, defaultShmSize), 10),
		"default-cgroupns-mode":    cmp.Or(s.CgroupnsMode, "private"),
	}
}

// runtimes returns the OCI runtimes as dockerd's event has them: name:path, the standard one first.
func (s Settings) runtimes() string {
	out := []string{ociruntimes.Standard + ":" + ociruntimes.Standard}
	for _, name := range slices.Sorted(maps.Keys(s.Runtimes.Defined)) {
		d := s.Runtimes.Defined[name]
		out = append(out, name+":"+cmp.Or(d.Path, d.Type))
	}
	return strings.Join(out, " ")
}

// listed returns a list as JSON.
func listed(list []string) string {
	raw, err := json.Marshal(append([]string{}, list...))
	if err != nil { // of strings there is none
		return "[]"
	}
	return string(raw)
}

// Reloaded is what reading the configuration again came to.
type Reloaded struct {
	Settings Settings
	// Changed are the settings that are others now, as "name=value", sorted.
	Changed []string
	// Waiting are the settings that the daemon has to be started again for, by the
	// name of the flag, sorted.
	Waiting []string
}

// Reload reads the configuration again, with the arguments that the daemon was
// started with, and puts what changed over now, the settings in use. c is what it
// was started with. What is neither an argument nor in the file any more stays as
// it is, except limits and features. Errors are those of Parse: nothing is
// reloaded then.
func (c Config) Reload(args []string, now Settings) (Reloaded, error) {
	fresh, err := Parse(args)
	if err != nil {
		return Reloaded{}, err
	}
	next := fresh.Settings
	keep := func(flag string, restore func()) {
		if _, given := fresh.given[flag]; !given {
			restore()
		}
	}
	keep("debug", func() { next.Debug = now.Debug })
	keep("live-restore", func() { next.LiveRestore = now.LiveRestore })
	keep("shutdown-timeout", func() { next.ShutdownTimeout = now.ShutdownTimeout })
	keep("label", func() { next.Labels = now.Labels })
	keep("insecure-registry", func() { next.InsecureRegistries = now.InsecureRegistries })
	keep("registry-mirror", func() { next.RegistryMirrors = now.RegistryMirrors })
	keep("add-runtime", func() { next.Runtimes.Defined = now.Runtimes.Defined })
	keep("default-runtime", func() { next.Runtimes.Default = now.Runtimes.Default })
	keep("default-shm-size", func() { next.ShmSize = now.ShmSize })
	keep("default-cgroupns-mode", func() { next.CgroupnsMode = now.CgroupnsMode })
	next.Runtimes.Folder = now.Runtimes.Folder
	if err := next.Runtimes.Check(); err != nil { // of what is kept and what is new
		return Reloaded{}, err
	}
	out := Reloaded{Settings: next, Waiting: c.waiting(fresh)}
	before, after := now.Attributes(), next.Attributes()
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if before[name] != after[name] {
			out.Changed = append(out.Changed, name+"="+after[name])
		}
	}
	return out, nil
}

// waiting returns the flags, but those of Settings, that are others in fresh.
func (c Config) waiting(fresh Config) []string {
	reloadable := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(Settings).define(reloadable)
	names := maps.Clone(c.given)
	maps.Copy(names, fresh.given)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old, had := c.given[name]
		now, has := fresh.given[name]
		if reloadable.Lookup(name) == nil && (had != has || old != now) {
			out = append(out, name)
		}
	}
	return out
}
