package dockerapi

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dockerevents "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/dockerapi/private"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/privateapi"
)

var update = flag.Bool("update", false, "write what a dump lets through")

// seed puts a secret of its own into every text of a value, at any depth, that is named
// after the way there.
func seed(v reflect.Value, at string) {
	switch p := v.Addr().Interface().(type) {
	case *json.RawMessage:
		*p = []byte(`"secret-in:` + at + `;"`)
		return
	case *time.Time, *netip.Addr, *netip.Prefix, *network.Port, *netip.AddrPort:
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("secret-in:" + at + ";")
	case reflect.Pointer:
		if v.Type().Elem().Kind() != reflect.Struct || strings.Count(at, "/") < 8 {
			v.Set(reflect.New(v.Type().Elem()))
			seed(v.Elem(), at)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		seed(v.Index(0), at)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		if key.Kind() == reflect.String {
			key.SetString("key")
		}
		seed(value, at+"/key")
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				name := "/" + f.Name
				if f.Anonymous {
					name = ""
				}
				seed(v.Field(i), at+name)
			}
		}
	}
}

func seeded[T any](at string) (out T) {
	seed(reflect.ValueOf(&out).Elem(), at)
	return out
}

// dumped is a daemon with a secret in every text of its state, settings and events, and its
// dump.
func dumped(t *testing.T) string {
	t.Helper()
	b := newBench(t)
	record := seeded[containerrecord.Record]("container")
	document, err := containerrecord.Encode(record)
	if err != nil {
		t.Fatal(err)
	}
	n, sb, e := seeded[model.Network]("network"), seeded[model.Sandbox]("sandbox"), seeded[model.Endpoint]("endpoint")
	n.ID, sb.ID, e.ID, e.Network, e.Sandbox = "n", "s", "e", "n", "s"
	if _, err := b.engine.Do(t.Context(), func(tx ops.Tx) error {
		tx.PutNetwork(n)
		tx.PutSandbox(sb)
		tx.PutEndpoint(e)
		tx.PutContainer(model.Container{ID: "c", Name: "c", Document: document})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	env := record.Config.Env[0]
	b.engine.report = desired.Report{Drift: []string{"link quotes " + env}}
	h := private.Handler(private.Options{
		Engine: b.engine, Drivers: all.Drivers(), Metrics: prometheus.NewRegistry(),
		Recent: private.Recent{
			Settings: seeded[config.Config]("settings"),
			Lines:    func() []string { return []string{"a line", "start failed: " + env + " is not a program"} },
			Events:   func() []events.Message { return []events.Message{seeded[dockerevents.Message]("event")} },
		},
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/linkspan/v1/dump", nil))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var dump privateapi.Dump
	if err := json.Unmarshal(w.Body.Bytes(), &dump); err != nil {
		t.Fatal(err)
	}
	var whole strings.Builder
	for _, f := range dump.Files {
		fmt.Fprintf(&whole, "== %s\n%s\n", f.Name, f.Text)
	}
	return whole.String()
}

// TestDumpHasNoSecrets: whatever field of a record, setting or event has a secret, and
// whatever else quotes it, it is in no file of a dump; but for those that the golden names,
// which is for people to judge.
func TestDumpHasNoSecrets(t *testing.T) {
	whole := dumped(t)
	var through []string
	for _, m := range regexp.MustCompile(`secret-in:([^;]*);`).FindAllStringSubmatch(whole, -1) {
		through = append(through, m[1])
	}
	slices.Sort(through)
	got := strings.Join(slices.Compact(through), "\n") + "\n"
	const golden = "testdata/dump-lets-through.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("a dump lets through\n%s\n%v: judge each, then go test -update", got, err)
	}
	for _, never := range []string{"Env", "Cmd", "Entrypoint", "Labels", "Healthcheck", "Config/key", "Test", "Output", "Password", "Proxy", "Options/key", "DriverOpts/key", "SecurityOpt", "Sysctls", "Binds", "Args"} {
		if strings.Contains(got, never) {
			t.Errorf("a dump lets %s through", never)
		}
	}
	for _, want := range []string{"== state/containers.json\n{", "== settings.json\n{", "a line\nstart failed: (removed) is not a program\n", "link quotes (removed)", "goroutine ", "== plan.txt"} {
		if !strings.Contains(whole, want) {
			t.Errorf("no %q in the dump", want)
		}
	}
}
