package private

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/volumes"
)

// VolumeImporter copies volumes of a Docker data root.
type VolumeImporter interface {
	Import(ctx context.Context, root string, names []string, told func(volumes.Imported)) error
}

// linePatience is how long a client may take to read one line.
const linePatience = time.Minute

// importVolumes copies the volumes of a Docker data root, and says a line of each when it
// is done. The header Linkspan-Drift cannot be known before: the last line counts.
func (d *server) importVolumes(w http.ResponseWriter, r *http.Request) {
	root := r.URL.Query().Get("root")
	if !filepath.IsAbs(root) {
		http.Error(w, fmt.Sprintf("the data root must be an absolute path: %q", root), http.StatusBadRequest)
		return
	}
	control := http.NewResponseController(w)
	done, failed := 0, 0
	line := func(format string, args ...any) {
		_ = control.SetWriteDeadline(time.Now().Add(linePatience)) // best effort: copying took its time
		fmt.Fprintln(w, model.Printable(fmt.Sprintf(format, args...)))
		_ = control.Flush() // the next line tells whether somebody listens
	}
	err := d.Volumes.Import(r.Context(), root, r.URL.Query()["name"], func(i volumes.Imported) {
		if i.Err != nil {
			failed++
			line("%s: not imported: %s", i.Name, i.Err)
			return
		}
		done++
		line("%s", i.Name)
	})
	switch {
	case err != nil && done+failed == 0:
		http.Error(w, err.Error(), httpkit.StatusOf(err))
	case err != nil:
		line("broken off: %s", err)
	default:
		line("%d imported, %d not", done, failed)
	}
}
