package streams

import (
	"bytes"
	"io"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// defaultDetachKeys are ctrl-p, ctrl-q.
const defaultDetachKeys = "ctrl-p,ctrl-q"

// ParseDetachKeys reads `--detach-keys`: a list of single characters or
// ctrl-X, X being a lower-case letter or one of @ [ \ ] ^ _.
func ParseDetachKeys(text string) ([]byte, error) {
	if text == "" {
		text = defaultDetachKeys
	}
	bad := model.Errorf(model.Invalid, "Invalid detach keys (%s) provided", text)
	var out []byte
	for _, key := range strings.Split(text, ",") {
		name, ctrl := strings.CutPrefix(key, "ctrl-")
		if len(name) != 1 {
			return nil, bad
		}
		c := name[0]
		switch {
		case !ctrl:
		case c >= 'a' && c <= 'z':
			c -= 'a' - 1
		case strings.IndexByte(`@[\]^_`, c) >= 0:
			c -= '@'
		default:
			return nil, bad
		}
		out = append(out, c)
	}
	return out, nil
}

// escape finds the detach keys in what a user types.
type escape struct {
	keys []byte
	held []byte // typed, not passed on: a beginning of keys
}

// feed returns what is to be passed on, and whether the keys were typed: then
// nothing after them is looked at.
func (e *escape) feed(typed []byte) (pass []byte, detached bool) {
	for _, c := range typed {
		e.held = append(e.held, c)
		for !bytes.HasPrefix(e.keys, e.held) {
			pass = append(pass, e.held[0])
			e.held = e.held[1:]
		}
		if len(e.keys) > 0 && len(e.held) == len(e.keys) {
			e.held = nil
			return pass, true
		}
	}
	return pass, false
}

// copyInput passes a client's input on until it ends; ErrDetached if the detach
// keys were typed. keys nil looks for none.
func copyInput(to io.Writer, from io.Reader, keys []byte) error {
	e := escape{keys: keys}
	buf := make([]byte, readSize)
	for {
		n, err := from.Read(buf)
		pass, detached := e.feed(buf[:n])
		if err != nil && !detached {
			pass = append(pass, e.held...)
		}
		if len(pass) > 0 {
			if _, werr := to.Write(pass); werr != nil {
				return werr
			}
		}
		switch {
		case detached:
			return ErrDetached
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
