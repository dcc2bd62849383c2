package redact

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestJSON(t *testing.T) {
	rules := Rules{"Name", "List/ID", "Options/com.linkspan.*", "Options/parent"}
	got, err := rules.JSON([]byte(`{"Name":"web","Secret":"s3","List":[{"ID":"1","Env":["A=b"]}],"N":12345678901234567890,"T":true,"Z":null,"E":"",
		"Options":{"com.linkspan.rate":"1","com.example.password":"s3","parent":"eth0","deep":{"parent":"s3"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var flat strings.Builder
	for _, c := range string(got) {
		if c != ' ' && c != '\n' {
			flat.WriteRune(c)
		}
	}
	want := `{"Name":"web","Secret":"(removed)","List":[{"ID":"1","Env":["(removed)"]}],"N":12345678901234567890,"T":true,"Z":null,"E":"",` +
		`"Options":{"com.linkspan.rate":"1","com.example.password":"(removed)","parent":"eth0","deep":{"parent":"(removed)"}}}`
	if flat.String() != want {
		t.Errorf("got\n%s\nwant\n%s", flat.String(), want)
	}
	if _, err := rules.JSON([]byte(strings.Repeat("[", 100))); err == nil {
		t.Error("a document without an end was read")
	}
}

func TestTexts(t *testing.T) {
	got, err := Rules{"Name"}.Texts([]byte(`{"Name":"web","A":["x","y"],"B":{"C":"z"},"N":1}`))
	if err != nil || !slices.Equal(got, []string{"x", "y", "z"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestScrubber(t *testing.T) {
	s := NewScrubber([]string{"PASSWORD=correct horse", "battery-staple", "short", "A=b", "", "1234-5678", "1234-5678-9"})
	got := s.Text(`start: "correct horse" PASSWORD=correct horse; battery-staples; short; A=b 1234-5678-9`)
	if want := `start: "(removed)" (removed); (removed)s; short; A=b (removed)`; got != want {
		t.Errorf("%q", got)
	}
}

// FuzzJSON: no text gets through that no rule names, whatever the document is.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"Name":"web","Secret":["s3",{"Name":"x"}],"N":1.5e3}`))
	f.Add([]byte(`"text"`))
	f.Fuzz(func(t *testing.T, document []byte) {
		rules := Rules{"Name"}
		got, err := rules.JSON(document)
		if err != nil {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%q became %q", document, got)
		}
		left, err := rules.Texts(got)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range left {
			if text != Removed && text != "" {
				t.Fatalf("%q was let through: %q", text, got)
			}
		}
	})
}
