package key

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// TestOneKeyForOneFile: a key stays as long as its file does, is nobody else's to read, and
// is another when the file has gone.
func TestOneKeyForOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deeper", "wireguard.key")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	first, err := LoadOrCreate(path)
	if err != nil || !model.ValidKey(first) {
		t.Fatalf("%q, %v", first, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if again, err := LoadOrCreate(path); again != first || err != nil {
		t.Errorf("%s became %s, %v", first, again, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); len(left) != 1 || err != nil {
		t.Errorf("%v, %v", left, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if other, err := LoadOrCreate(path); other == first || err != nil {
		t.Errorf("%s again, %v", other, err)
	}
}

// TestKnownPair is one of RFC 7748, section 6.1.
func TestKnownPair(t *testing.T) {
	pair, err := parse([]byte("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n"))
	if err != nil || pair.Public != "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=" {
		t.Errorf("%s, %v", pair.Public, err)
	}
}

// TestRefused: no key is taken from what is none or was not kept, it stays as it is, and what
// is said of it does not tell.
func TestRefused(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	for _, c := range []struct {
		text string
		mode fs.FileMode
	}{{good, 0o640}, {good, 0o604}, {"", 0o600}, {"secretsecret", 0o600}, {good[:40], 0o600}, {good + good, 0o600}} {
		path := filepath.Join(t.TempDir(), "k")
		if err := errors.Join(os.WriteFile(path, []byte(c.text), c.mode), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		public, err := LoadOrCreate(path)
		if err == nil || public != "" || c.text != "" && strings.Contains(err.Error(), c.text[:10]) {
			t.Errorf("%q with %o: %q, %v", c.text, c.mode, public, err)
		}
		if now, err := os.ReadFile(path); string(now) != c.text || err != nil {
			t.Errorf("%q became %q, %v", c.text, now, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if pair, err := parse(text); err == nil && !model.ValidKey(pair.Public) {
			t.Errorf("%q is %q", text, pair.Public)
		}
	})
}
