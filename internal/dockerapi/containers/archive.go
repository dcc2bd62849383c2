package containers

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containers/archive"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// pieceSize is how much of an archive is sent at once, in bytes.
const pieceSize = 256 << 10

// archivePath reads the path in a container that a request is about.
func archivePath(r *httpkit.Request) (string, error) {
	path := r.Query.Get("path")
	switch {
	case path == "":
		return "", model.Errorf(model.Invalid, "bad parameter: path cannot be empty")
	case len(path) > httpkit.MaxPath:
		return "", model.Errorf(model.Invalid, "bad parameter: path has %d bytes, at most %d are allowed", len(path), httpkit.MaxPath)
	}
	return path, nil
}

// setPathStat tells in the headers what a path in a container leads to.
func setPathStat(h http.Header, s container.PathStat) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode what the file is: %w", err)
	}
	h.Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(raw))
	return nil
}

// getArchive sends a file or folder as a tar archive or, asked by HEAD, what it is.
func (a *api) getArchive(w http.ResponseWriter, r *httpkit.Request) error {
	path, err := archivePath(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		found, err := a.Archive.Stat(r.Context(), r.PathValue("id"), path)
		if err != nil {
			return err
		}
		if err := setPathStat(w.Header(), found); err != nil {
			return err
		}
		return httpkit.Empty(w, http.StatusOK)
	}
	out := newPieces(w, r)
	return out.end(a.Archive.Get(r.Context(), r.PathValue("id"), path, func(found container.PathStat) (io.Writer, error) {
		return out, setPathStat(w.Header(), found)
	}))
}

// putArchive unpacks a tar archive in a container.
func (a *api) putArchive(w http.ResponseWriter, r *httpkit.Request) error {
	path, err := archivePath(r)
	if err != nil {
		return err
	}
	body := r.Stream()
	defer body.Close() //nolint:errcheck // was read
	err = a.Archive.Put(r.Context(), r.PathValue("id"), path, body, archive.PutOptions{
		NoOverwriteDirNonDir: r.Flag("noOverwriteDirNonDir"), CopyUIDGID: r.Flag("copyUIDGID"),
	})
	if err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

// export sends a container's file system as a tar archive.
func (a *api) export(w http.ResponseWriter, r *httpkit.Request) error {
	out := newPieces(w, r)
	return out.end(a.Archive.Export(r.Context(), r.PathValue("id"), out))
}

// changes lists what differs from the image; "null" if nothing does, as with Docker.
func (a *api) changes(w http.ResponseWriter, r *httpkit.Request) error {
	list, err := a.Archive.Changes(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, list)
}

// pieces is an archive on its way to a client.
type pieces struct {
	*bufio.Writer
	stream *httpkit.Stream
}

func newPieces(w http.ResponseWriter, r *httpkit.Request) *pieces {
	stream := httpkit.NewStream(w, r, "application/x-tar")
	return &pieces{bufio.NewWriterSize(stream, pieceSize), stream}
}

// end sends what is left. An error after the first byte can only be shown by breaking the
// answer off.
func (p *pieces) end(err error) error {
	if err == nil {
		if err = p.Flush(); err == nil {
			return p.stream.Open()
		}
	}
	if p.stream.Opened() {
		panic(http.ErrAbortHandler)
	}
	return err
}
