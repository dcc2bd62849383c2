package dhcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// maxFile is how much of the file of leases is read, in bytes.
const maxFile = 64 << 20

// written is a lease as it is in the file.
type written struct {
	Request facts.LeaseRequest
	Lease   model.Lease
	Hop     net.HardwareAddr
}

// load reads the file. One that is not there has no leases.
func load(path string) ([]written, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	var all []written
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("the leases in %s cannot be read: %w", path, err)
	}
	return all, nil
}

// save writes the file, for root's eyes, in place of the one that is there.
func save(path string, all []written) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	fresh := path + ".new"
	return errors.Join(os.WriteFile(fresh, text, 0o600), os.Rename(fresh, path))
}
