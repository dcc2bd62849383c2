// Foulregistry serves the same image under many tags at ADDRESS:PORT, by plain HTTP, and misbehaves as the tag says:
//
//	good         as it should
//	slow         2 MB a second
//	reset        each answer with a layer ends in the middle by a reset; ranges are served
//	stuck        an answer with a layer begins and says no more
//	digest       a layer is another one, of the same length
//	longer       a layer does not end where its manifest says
//	shorter      a layer ends before
//	size         the header says another length of the manifest than it has
//	hashed       the header says another digest of the manifest than it has
//	missing      a layer that the manifest names is not there
//	notdiff      the layer is not the one that the configuration means
//	broken       a manifest that is not JSON
//	endless      a manifest that does not end
//	html         a page for people
//	schema1      a manifest as of 2014
//	chart        a manifest of something else than an image
//	circles      leads to itself
//	away         redirects to where nobody listens
//	known        wants to know who one is, whatever one says
//	many         too many requests
//	error        the server's own error
//	elsewhere    the manifest gives another address for its layer, which must not be asked
//
// Every request is a line on standard output: method, path and the range asked for.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const layerSize = 6 << 20 // bytes; incompressible, so that a layer is as long

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "foulregistry:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: foulregistry ADDRESS:PORT")
	}
	image, err := newImage()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	server := &http.Server{Handler: image, ReadHeaderTimeout: time.Minute}
	return server.Serve(l)
}

// image is what is served: blobs by digest, and how the layer of which digest is spoilt.
type image struct {
	blobs     map[string][]byte
	manifests map[string][]byte // by tag
	spoilt    map[string]string // layers' digests to tags
}

type descriptor struct {
	MediaType string   `json:"mediaType"`
	Digest    string   `json:"digest"`
	Size      int      `json:"size"`
	URLs      []string `json:"urls,omitempty"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type configuration struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	Config       settings `json:"config"`
	RootFS       rootFS   `json:"rootfs"`
}

type settings struct {
	Labels map[string]string
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// newImage makes a layer of its own for every tag, so that none profits from another.
func newImage() (*image, error) {
	i := &image{blobs: map[string][]byte{}, manifests: map[string][]byte{}, spoilt: map[string]string{}}
	for _, tag := range strings.Fields("good slow reset stuck digest longer shorter size hashed missing notdiff chart elsewhere away") {
		layer, diff, err := newLayer(tag)
		if err != nil {
			return nil, err
		}
		if tag == "notdiff" {
			diff = digestOf([]byte(tag))
		}
		config, err := json.Marshal(configuration{Architecture: "amd64", OS: "linux",
			Config: settings{map[string]string{"from": tag}}, RootFS: rootFS{"layers", []string{diff}}})
		if err != nil {
			return nil, err
		}
		configDesc := descriptor{MediaType: configType, Digest: digestOf(config), Size: len(config)}
		layerDesc := descriptor{MediaType: layerType, Digest: digestOf(layer), Size: len(layer)}
		switch tag {
		case "chart":
			configDesc.MediaType, layerDesc.MediaType = "application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
		case "elsewhere":
			layerDesc.URLs = []string{"http://" + os.Args[1] + "/elsewhere"}
		}
		document, err := json.Marshal(manifest{2, manifestType, configDesc, []descriptor{layerDesc}})
		if err != nil {
			return nil, err
		}
		i.blobs[configDesc.Digest], i.blobs[layerDesc.Digest], i.manifests[tag] = config, layer, document
		i.spoilt[layerDesc.Digest] = tag
	}
	i.manifests["broken"] = []byte("{")
	return i, nil
}

// newLayer makes a tar of one file, which gzip cannot make smaller.
func newLayer(tag string) (layer []byte, diff string, err error) {
	noise, sum := make([]byte, 0, layerSize), sha256.Sum256([]byte(tag))
	for len(noise) < layerSize {
		noise = append(noise, sum[:]...)
		sum = sha256.Sum256(sum[:])
	}
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	if err := w.WriteHeader(&tar.Header{Name: "noise-" + tag, Mode: 0o644, Size: int64(len(noise)), Typeflag: tar.TypeReg}); err != nil {
		return nil, "", err
	}
	if _, err := w.Write(noise); err != nil {
		return nil, "", err
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	z, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	if err != nil {
		return nil, "", err
	}
	if _, err := z.Write(plain.Bytes()); err != nil {
		return nil, "", err
	}
	if err := z.Close(); err != nil {
		return nil, "", err
	}
	return packed.Bytes(), digestOf(plain.Bytes()), nil
}

// ServeHTTP implements http.Handler.
func (i *image) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fmt.Println(r.Method, r.URL.Path, r.Header.Get("Range"))
	_, name, isManifest := strings.Cut(r.URL.Path, "/manifests/")
	_, digest, isBlob := strings.Cut(r.URL.Path, "/blobs/")
	switch {
	case r.URL.Path == "/v2/":
		w.WriteHeader(http.StatusOK)
	case strings.HasSuffix(r.URL.Path, "/tags/list"):
		w.Header().Set("Link", `</v2/x/tags/list?last=good>; rel="next"`) // the next page is this one
		fmt.Fprint(w, `{"name":"x","tags":["good"]}`)
	case isManifest:
		i.manifest(w, r, name)
	case isBlob:
		i.blob(w, r, digest)
	default:
		http.NotFound(w, r)
	}
}

// manifest answers with the manifest of a tag or digest.
func (i *image) manifest(w http.ResponseWriter, r *http.Request, name string) {
	if refuse(w, r, name) {
		return
	}
	raw, ok := i.manifests[name]
	for tag, m := range i.manifests {
		if digestOf(m) == name {
			raw, name, ok = m, tag, true
		}
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	length, digest := len(raw), digestOf(raw)
	switch name {
	case "size":
		length += 100
	case "hashed":
		digest = digestOf([]byte("another"))
	}
	w.Header().Set("Content-Type", manifestType)
	w.Header().Set("Docker-Content-Digest", digest)
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Length", fmt.Sprint(length))
		return
	}
	_, _ = w.Write(raw)
}

// refuse answers for the tags that have no manifest at all.
func refuse(w http.ResponseWriter, r *http.Request, tag string) bool {
	switch tag {
	case "endless":
		w.Header().Set("Content-Type", manifestType)
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil || r.Method == http.MethodHead {
				break
			}
		}
	case "html":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!DOCTYPE html><title>Welcome</title>")
	case "schema1":
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
		fmt.Fprint(w, `{"schemaVersion":1}`)
	case "circles":
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	case "known":
		w.Header().Set("WWW-Authenticate", `Basic realm="nobody"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
	case "many":
		http.Error(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}`, http.StatusTooManyRequests)
	case "error":
		http.Error(w, "on fire", http.StatusInternalServerError)
	default:
		return false
	}
	return true
}

// blob answers with a configuration or a layer.
func (i *image) blob(w http.ResponseWriter, r *http.Request, digest string) {
	raw, ok := i.blobs[digest]
	tag := i.spoilt[digest]
	switch {
	case !ok || tag == "missing":
		http.NotFound(w, r)
		return
	case tag == "away":
		http.Redirect(w, r, "http://"+strings.Split(r.Host, ":")[0]+":1/nobody", http.StatusTemporaryRedirect)
		return
	}
	from := 0
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 && from < len(raw) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(raw)-1, len(raw)))
	} else {
		from = 0
	}
	body := bytes.Clone(raw[from:])
	switch tag {
	case "digest":
		body[len(body)/2] ^= 1
	case "longer":
		body = append(body, body...)
	case "shorter":
		body = body[:len(body)/2]
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	send(w, r, tag, body)
}

// send sends a layer, at the pace of its tag.
func send(w http.ResponseWriter, r *http.Request, tag string, body []byte) {
	flush := func() { _ = http.NewResponseController(w).Flush() }
	switch tag {
	case "reset":
		_, _ = w.Write(body[:max(1, len(body)/2)])
		flush()
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		}
	case "stuck":
		_, _ = w.Write(body[:len(body)/2])
		flush()
		<-r.Context().Done()
	case "slow":
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for len(body) > 0 && r.Context().Err() == nil {
			n := min(len(body), 2<<20/20)
			if _, err := w.Write(body[:n]); err != nil {
				return
			}
			flush()
			body = body[n:]
			<-tick.C
		}
	default:
		_, _ = w.Write(body)
	}
}
