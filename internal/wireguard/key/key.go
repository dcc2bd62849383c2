// Package key has the key pair of this host in the tunnel of encrypted networks: Curve25519
// (RFC 7748), in a file as `wg genkey` writes it.
//
// It promises that the private key is in that file alone, which only its owner may read, and
// that a file it does not understand, or that others may read, is refused and left as it is.
package key

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Pair is a key pair.
type Pair struct {
	Private [32]byte
	Public  string // in base64
}

// maxFile bounds what is read of the file, in bytes.
const maxFile = 64

// LoadOrCreate returns the public key of the pair in a file, which is made if it is missing.
func LoadOrCreate(path string) (public string, err error) {
	pair, err := Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		pair, err = create(path)
	}
	return pair.Public, err
}

// Load returns the pair in a file. The error is fs.ErrNotExist if there is none.
func Load(path string) (Pair, error) {
	f, err := os.Open(path)
	if err != nil {
		return Pair{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Pair{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Pair{}, fmt.Errorf("%s: others may read the private key (mode %#o): remove the file, and another key is made", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return Pair{}, err
	}
	pair, err := parse(text)
	if err != nil {
		return Pair{}, fmt.Errorf("%s: %w: remove the file, and another key is made", path, err)
	}
	return pair, nil
}

// errNotAKey says nothing of what was read.
var errNotAKey = errors.New("this is no private key in base64")

func parse(text []byte) (Pair, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		return Pair{}, errNotAKey
	}
	private, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return Pair{}, errNotAKey
	}
	return pairOf(private), nil
}

func pairOf(private *ecdh.PrivateKey) Pair {
	return Pair{Private: [32]byte(private.Bytes()), Public: base64.StdEncoding.EncodeToString(private.PublicKey().Bytes())}
}

// create writes a new pair. The file is there as a whole or not at all.
func create(path string) (pair Pair, err error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Pair{}, err
	}
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) { // whoever left it may have given it another mode
		return Pair{}, err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Pair{}, err
	}
	_, err = fmt.Fprintln(f, base64.StdEncoding.EncodeToString(private.Bytes()))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return Pair{}, fmt.Errorf("keep the private key of this host: %w", err)
	}
	return pairOf(private), nil
}
