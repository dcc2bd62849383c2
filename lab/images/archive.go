package images

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// runConfig is the part of an image's configuration that says how its containers run (OCI image specification,
// "config").
type runConfig struct {
	Env          []string            `json:"Env,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
}

// imageConfig is an image's configuration, whose digest is the image's ID.
type imageConfig struct {
	Created      string    `json:"created"`
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Config       runConfig `json:"config"`
	RootFS       rootFS    `json:"rootfs"`
	History      []history `json:"history"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// manifestEntry is one image of an archive as "docker save" writes it.
type manifestEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// writeArchive writes an archive for "docker load" with the one layer.
func writeArchive(target, layer, digest string, r recipe) error {
	config, err := json.Marshal(imageConfig{
		Created: "2026-01-01T00:00:00Z", Architecture: runtime.GOARCH, OS: "linux", Config: r.run,
		RootFS:  rootFS{Type: "layers", DiffIDs: []string{digest}},
		History: []history{{Created: "2026-01-01T00:00:00Z", CreatedBy: "Debian packages " + strings.Join(r.packages, " ")}},
	})
	if err != nil {
		return err
	}
	configName := digestOf(config) + ".json"
	manifest, err := json.Marshal([]manifestEntry{{Config: configName, RepoTags: r.tags, Layers: []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	file, err := os.Create(target)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := tar.NewWriter(file)
	err = errors.Join(
		putText(archive, "manifest.json", manifest),
		putText(archive, configName, config),
		putFile(archive, "layer.tar", layer),
		archive.Close())
	return errors.Join(err, file.Close())
}

// putText writes a small file into the archive.
func putText(archive *tar.Writer, name string, text []byte) error {
	header := tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), ModTime: built()}
	if err := archive.WriteHeader(&header); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err := archive.Write(text)
	return err
}

// putFile copies the file at path into the archive.
func putFile(archive *tar.Writer, name, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header := tar.Header{Name: name, Mode: 0o644, Size: info.Size(), ModTime: built()}
	if err := archive.WriteHeader(&header); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err = io.Copy(archive, file)
	return err
}
