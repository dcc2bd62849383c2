// Package images builds the container images that tests and the demo run, from Debian packages alone, and keeps them
// in a cache folder as archives for "docker load". An image that is in the cache is not built again: delete the file
// to have it rebuilt.
//
// The package must not install anything on the machine, and it needs no container engine. It needs mmdebstrap and, the
// first time, the Debian mirror that the machine's own apt uses.
package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// recipe says how one image is made.
type recipe struct {
	name     string
	tags     []string
	packages []string          // with all they depend on
	applets  bool              // busybox under all its names
	dirs     []string          // further folders
	files    map[string]string // further files, which replace those of the packages
	links    map[string]string // further symbolic links: name to target
	run      runConfig
}

// defaultPath is the PATH of every image.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// nginxConf serves the page of Debian's package, the client's address under /ip, and the container's name under /name.
const nginxConf = `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr;
events { worker_connections 512; }
http {
  access_log off;
  default_type text/html;
  server {
    listen 80;
    listen [::]:80;
    root /usr/share/nginx/html;
    location = /ip   { default_type text/plain; return 200 "$remote_addr\n"; }
    location = /name { default_type text/plain; return 200 "$hostname\n"; }
  }
}
`

// recipes are the images there are.
func recipes() []recipe {
	return []recipe{
		{
			name:     "busybox",
			tags:     []string{"busybox:latest", "alpine:latest", "alpine:3.10"},
			packages: []string{"busybox-static"},
			applets:  true,
			run:      runConfig{Env: []string{defaultPath}, Cmd: []string{"sh"}},
		},
		{
			name:     "nginx",
			tags:     []string{"nginx:latest"},
			packages: []string{"nginx", "busybox-static"},
			applets:  true,
			dirs:     []string{"var/log/nginx", "var/lib/nginx", "var/www/html"},
			files:    map[string]string{"etc/nginx/nginx.conf": nginxConf},
			run: runConfig{
				Env: []string{defaultPath}, Cmd: []string{"nginx", "-g", "daemon off;"},
				ExposedPorts: map[string]struct{}{"80/tcp": {}}, StopSignal: "SIGQUIT",
			},
		},
		{
			name: "tools",
			tags: []string{"tools:latest"},
			packages: strings.Fields("bash dash coreutils libc-bin grep sed mawk hostname procps iproute2 iputils-ping " +
				"curl bind9-dnsutils iperf3 netcat-openbsd socat tcpdump"),
			links: map[string]string{"bin/sh": "dash", "bin/nc": "nc.openbsd", "usr/bin/awk": "mawk"},
			run:   runConfig{Env: []string{defaultPath}, Cmd: []string{"bash"}},
		},
	}
}

// Names are the images there are: busybox (also tagged alpine), nginx, tools.
func Names() []string {
	var names []string
	for _, r := range recipes() {
		names = append(names, r.name)
	}
	return names
}

// CacheDir is the folder for built images in the user's cache folder, see os.UserCacheDir.
func CacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "linkspan-lab", "images"), nil
}

// Ensure returns the path of the archive of the named image in dir, and builds it first if it is not there. Several
// programs may do this at once: an archive appears whole or not at all.
func Ensure(ctx context.Context, dir, name string) (string, error) {
	i := slices.IndexFunc(recipes(), func(r recipe) bool { return r.name == name })
	if i < 0 {
		return "", fmt.Errorf("image %s: unknown; there are %s", name, strings.Join(Names(), ", "))
	}
	path := filepath.Join(dir, name+".tar")
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, "build-") // beside the result, so that it can be renamed into place
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := recipes()[i].build(ctx, work, path); err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	return path, nil
}

// build makes the image's archive at path, with work as a folder for what is only needed meanwhile.
func (r recipe) build(ctx context.Context, work, path string) error {
	unpacked := filepath.Join(work, "unpacked.tar")
	if err := unpack(ctx, r.packages, unpacked); err != nil {
		return err
	}
	additions, err := r.additions(ctx, unpacked, work)
	if err != nil {
		return err
	}
	layer := filepath.Join(work, "layer.tar")
	digest, err := writeLayer(unpacked, additions, layer)
	if err != nil {
		return err
	}
	archive := filepath.Join(work, "archive.tar")
	if err := writeArchive(archive, layer, digest, r); err != nil {
		return err
	}
	return os.Rename(archive, path)
}
