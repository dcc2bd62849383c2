package plugins

import (
	"testing"
)

// FuzzSpecs reads .spec and .json files: what is taken leads somewhere.
func FuzzSpecs(f *testing.F) {
	for _, seed := range []string{
		"tcp://localhost:8080", "unix:///run/x.sock\n", "https://h", "", "://", "tcp://", "unix://x",
		`{"Addr": "https://h:1", "TLSConfig": {"CAFile": "/c", "InsecureSkipVerify": true}}`, `{"Addr": 7}`, `{"TLSConfig": null}`, "[", "null",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, parse := range []func([]byte) (Address, error){parseSpec, parseJSON} {
			a, err := parse(raw)
			if err != nil {
				continue
			}
			if a.TLS != nil {
				a.TLS.CAFile, a.TLS.CertFile, a.TLS.KeyFile = "", "", "" // nobody's files are read here
			}
			if _, err := newClient(a); err != nil {
				t.Errorf("%q is taken as %+v, and leads nowhere: %v", raw, a, err)
			}
		}
	})
}

// FuzzAnswers reads answers: none is taken for more than it is.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{`{}`, `{"Err": "no"}`, `<html>`, ``, `null`, `{"Value": {"a": [1, {"b": null}]}}`, `{"Implements": ["NetworkDriver"]}`, `[[[[`} {
		f.Add(200, []byte(seed))
		f.Add(500, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, raw []byte) {
		var out struct {
			Err        string
			Implements []string
			Value      map[string]any
		}
		err := understand("X", status, raw, &out)
		if status != 200 && err == nil {
			t.Errorf("status %d is no error", status)
		}
		if err != nil && len(err.Error()) > 10*maxSaid {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
