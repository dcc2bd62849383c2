package plugins_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins"
	"github.com/linkspan/linkspan/internal/plugins/plugintest"
)

// patience is short in tests: nothing comes back by itself here.
const patience = 20 * time.Millisecond

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFound looks for plugins in each of their places.
func TestFound(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"Implements": ["NetworkDriver"]}`)
	}))
	defer server.Close()
	secure := httptest.NewTLSServer(server.Config.Handler)
	defer secure.Close()
	p := plugintest.New(t, "sock")
	p.Start(t)
	etc, lib := p.Places.Specs[0], p.Places.Specs[1]
	tcp := strings.Replace(server.URL, "http://", "tcp://", 1)
	write(t, etc+"/spec.spec", tcp+"\n")
	write(t, lib+"/folder/folder.spec", server.URL)
	write(t, etc+"/json.json", fmt.Sprintf(`{"Name": "another", "Addr": %q}`, secure.URL))
	write(t, etc+"/tls.json", fmt.Sprintf(`{"Addr": %q, "TLSConfig": {"InsecureSkipVerify": true}}`, secure.URL))
	write(t, etc+"/untrusted.json", fmt.Sprintf(`{"Addr": %q, "TLSConfig": {"CAFile": "/dev/null"}}`, secure.URL))
	write(t, etc+"/both.spec", tcp)
	write(t, etc+"/both.json", "{")
	write(t, etc+"/none.spec", "no protocol")
	write(t, etc+"/file.spec", "file:///etc/passwd")
	write(t, etc+"/garbage.json", "<html>")
	write(t, etc+"/long.spec", strings.Repeat("x", 1<<17))
	write(t, etc+"/ignored.txt", tcp)
	r := plugins.New(plugins.Options{Places: p.Places, Patience: patience})
	for name, want := range map[string]string{
		"sock": "", "spec": "", "folder": "", "json": "", "tls": "", "both": "",
		"untrusted": "failed to append certificates", "none": "Unknown protocol", "file": `unknown protocol "file"`, "garbage": "invalid character '<'",
		"long": "longer than", "ignored": `plugin "ignored" not found`, "nobody": `plugin "nobody" not found`,
		"../spec": `plugin "../spec" not found`, "": `plugin "" not found`, "a/b": `plugin "a/b" not found`, ".": `plugin "." not found`,
	} {
		_, err := r.Get(t.Context(), name, plugins.NetworkDriver)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
		if strings.Contains(want, "not found") != (model.KindOf(err) == model.NotFound) {
			t.Errorf("%q: kind of %v", name, err)
		}
	}
	var listed []string
	for _, k := range r.List() {
		listed = append(listed, fmt.Sprint(k.Name, k.Active))
	}
	if got := strings.Join(listed, " "); got != "bothtrue foldertrue jsontrue socktrue spectrue tlstrue untrustedfalse" {
		t.Errorf("listed are %s", got)
	}
}

// TestRoles: what a plugin is not it cannot be used as.
func TestRoles(t *testing.T) {
	p := plugintest.New(t, "lab")
	p.Say("Plugin.Activate", map[string]any{"Implements": []string{"VolumeDriver"}})
	p.Start(t)
	r := plugins.New(plugins.Options{Places: p.Places, Patience: patience})
	_, err := r.Get(t.Context(), "lab", plugins.NetworkDriver)
	if want := `legacy plugin: Plugin does not implement the requested driver: plugin="lab", requested implementation="NetworkDriver"`; err == nil || err.Error() != want || model.KindOf(err) != model.Unfit {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestComesAndGoes: a plugin that was away is activated again, and whoever wants to know
// is told before others get it.
func TestComesAndGoes(t *testing.T) {
	p := plugintest.New(t, "lab")
	r := plugins.New(plugins.Options{Places: p.Places, Patience: 2 * time.Second})
	told := 0
	r.OnActivate(func(_ context.Context, p *plugins.Plugin) { told++ })
	started := make(chan struct{})
	go func() { defer close(started); time.Sleep(10 * time.Millisecond); p.Start(t) }() // it may come while it is looked for
	got, err := r.Get(t.Context(), "lab", plugins.IpamDriver)
	<-started
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Call(t.Context(), "IpamDriver.X", nil, nil); err != nil {
		t.Error(err)
	}
	p.Stop()
	var away *plugins.UnreachableError
	if err := got.CallOnce(t.Context(), "IpamDriver.X", nil, nil); !errors.As(err, &away) || !plugins.Away(err) || !strings.Contains(err.Error(), "lab.sock: connect: ") {
		t.Errorf("of a plugin that is away: %v", err)
	}
	if l := r.List(); len(l) != 1 || l[0].Active {
		t.Errorf("listed: %+v", l)
	}
	p.Start(t)
	p.Calls()
	if got, err = r.Get(t.Context(), "lab", plugins.IpamDriver); err != nil {
		t.Fatal(err)
	}
	if err := got.Call(t.Context(), "IpamDriver.X", nil, nil); err != nil {
		t.Error(err)
	}
	if calls := p.Calls(); !slices.Equal(calls, []string{"Plugin.Activate", "IpamDriver.X"}) || told != 2 {
		t.Errorf("calls %q, told %d times", calls, told)
	}
}

// TestHostileAnswers: whatever a plugin answers, a call ends, and says why.
func TestHostileAnswers(t *testing.T) {
	p := plugintest.New(t, "lab")
	p.Start(t)
	r := plugins.New(plugins.Options{Places: p.Places, Patience: patience})
	plugin, err := r.Get(t.Context(), "lab", plugins.NetworkDriver)
	if err != nil {
		t.Fatal(err)
	}
	hangs := make(chan struct{})
	defer close(hangs)
	for name, c := range map[string]struct {
		answer any
		want   string
	}{
		"HTML":          {plugintest.Raw{Status: 200, Body: "<html>It works!</html>"}, "invalid character '<' looking for beginning of value"},
		"nothing":       {plugintest.Raw{Status: 200}, "EOF"},
		"endless":       {plugintest.Raw{Status: 200, Body: `{"Err": "` + strings.Repeat("x", 2<<20)}, "longer than"},
		"another type":  {plugintest.Raw{Status: 200, Body: `{"Err": 7}`}, "cannot unmarshal number"},
		"a refusal":     {plugintest.Raw{Status: 500, Body: `{"Err": "no\x07 way"}`}, "X: "},
		"said so":       {plugintest.Raw{Status: 500, Body: `{"Err": "no way"}`}, "X: no way"},
		"a redirection": {plugintest.Raw{Status: 307, Body: "elsewhere"}, "X: elsewhere"},
		"not there":     {plugintest.Raw{Status: 404, Body: "page \x1b[31mnot\x1b[0m found\n"}, `X: page \x1b[31mnot\x1b[0m found`},
		"hangs":         {func(json.RawMessage) any { <-hangs; return nil }, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			p.Say("X", c.answer)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var out struct{ Err string }
			err := plugin.Call(ctx, "X", nil, &out)
			if err == nil || !strings.Contains(err.Error(), c.want) || plugins.Away(err) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if len(err.Error()) > 8192 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if plugins.Lacks(err) != (name == "not there") {
				t.Errorf("lacks the method: %t", plugins.Lacks(err))
			}
		})
	}
}
