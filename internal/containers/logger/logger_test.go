package logger

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func info(options map[string]string) *Info {
	return &Info{
		Config: options, ContainerID: strings.Repeat("0123456789abcdef", 4), ContainerName: "/web",
		ContainerEntrypoint: "sh", ContainerArgs: []string{"-c", "true"},
		ContainerImageID: "sha256:" + strings.Repeat("fedcba9876543210", 4), ContainerImageName: "busybox:1",
		ContainerCreated: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC),
		ContainerEnv:     []string{"PLACE=here=there", "BARE", "team=red"},
		ContainerLabels:  map[string]string{"team": "a b", "tier": "1", "other": "x", "": "nameless"},
		LogPath:          "/log", DaemonName: "docker",
	}
}

// show writes attributes in order.
func show(attributes map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		out = append(out, name+"="+attributes[name])
	}
	return strings.Join(out, "|")
}

func TestChosen(t *testing.T) {
	for name, c := range map[string]struct {
		options map[string]string
		want    string
	}{
		"nothing":               {nil, ""},
		"by name":               {map[string]string{"labels": "tier,absent", "env": "PLACE,BARE"}, "PLACE=here=there|tier=1"},
		"by pattern":            {map[string]string{"labels-regex": "^ti", "env-regex": "^P"}, "PLACE=here=there|tier=1"},
		"empty choices":         {map[string]string{"labels": "", "labels-regex": "", "env": "", "env-regex": "", "tag": ""}, ""},
		"a variable goes first": {map[string]string{"labels": "team", "env": "team"}, "team=red"},
		"a label of no name":    {map[string]string{"labels": "tier,"}, "=nameless|tier=1"},
		"tag":                   {map[string]string{"tag": "{{.Name}}/{{.ID}}"}, "tag=web/0123456789ab"},
		"tag and others":        {map[string]string{"tag": "t", "labels": "tier"}, "tag=t|tier=1"},
		"tag of nothing":        {map[string]string{"tag": `{{if eq .Name "db"}}x{{end}}`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Attributes(info(c.options))
			if err != nil || show(got) != c.want || c.want == "" && got != nil {
				t.Errorf("%q, %v; want %q", show(got), err, c.want)
			}
		})
	}
}

// TestTags: what Docker's documentation names, and what its templates can do
// besides.
func TestTags(t *testing.T) {
	id, image := strings.Repeat("0123456789abcdef", 4), "sha256:"+strings.Repeat("fedcba9876543210", 4)
	for tag, want := range map[string]string{
		"{{.ID}} {{.FullID}}":                                "0123456789ab " + id,
		"{{.Name}} {{.ContainerName}}":                       "web /web",
		"{{.ImageID}} {{.ImageFullID}}":                      "sha256:fedcb " + image,
		"{{.ImageName}}":                                     "busybox:1",
		"{{.DaemonName}}":                                    "docker",
		"{{.Command}}":                                       "sh -c true",
		`{{.ContainerCreated.Format "2006"}}`:                "2024",
		`{{index .ContainerLabels "team"}}`:                  "a b",
		`{{json .ContainerArgs}}`:                            `["-c","true"]`,
		`{{join (split .ImageName ":") "+"}}`:                "busybox+1",
		`{{upper .Name}}{{title .Name}}{{lower "A"}}`:        "WEBWeba",
		`{{pad .Name 1 2}}|{{pad "" 1 2}}|`:                  " web  ||",
		`{{truncate .Name 2}} {{truncate .Name 9}}`:          "we web",
		`{{range .ContainerArgs}}<{{.}}>{{else}}none{{end}}`: "<-c><true>",
		`{{range $i, $v := .ContainerEnv}}{{if eq $i 1}}{{break}}{{end}}{{$v}}{{end}}`: "PLACE=here=there",
		`{{with .Name}}{{printf "%-5s|%5.1f|%03d" . 1.25 7}}{{end}}`:                   "web  |  1.2|007",
		`{{define "n"}}[{{.}}]{{end}}{{template "n" .Name}}`:                           "[web]",
		`{{html "<"}}{{js "'"}}{{urlquery "a b"}}{{print 1 2}}{{len .Name}}`:           `&lt;\'a+b1 23`,
		`{{- " a " -}} b`: " a b",
		"plain":           "plain",
	} {
		got, err := Attributes(info(map[string]string{"tag": tag}))
		if err != nil || got["tag"] != want {
			t.Errorf("%s: %q, %v; want %q", tag, got["tag"], err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ option, value, want string }{
		"open action":          {"tag", "{{", "template: log-tag:1: unclosed action"},
		"no such field":        {"tag", "{{.Nme}}", `template: log-tag:1:2: executing "log-tag" at <.Nme>: can't evaluate field Nme in type *logger.Info`},
		"no function":          {"tag", "{{env}}", `template: log-tag:1: function "env" not defined`},
		"not its type":         {"tag", "{{pad .Name 1}}", `template: log-tag:1:2: executing "log-tag" at <pad>: wrong number of args for pad: want 3 got 2`},
		"cut before":           {"tag", "{{truncate .Name -1}}", "error calling truncate: runtime error: slice bounds out of range"},
		"far":                  {"tag", "{{pad .Name 1 100000000000}}", "error calling pad: log tag is too long"},
		"endless":              {"tag", "{{range 1000000000000}}" + strings.Repeat("x", 1000) + "{{end}}", "log tag is too long: at most 262144 bytes"},
		"endless, silent":      {"tag", "{{range 1000000000000}}{{end}}", "log tag takes too long"},
		"endless, an action":   {"tag", "{{range 1000000000000}}{{eq . 1}}{{end}}", "log tag takes too long"},
		"endless, an if":       {"tag", "{{range 1000000000000}}{{if true}}{{else}}{{end}}{{end}}", "log tag takes too long"},
		"endless, elsewhere":   {"tag", `{{define "a"}}{{range 1000000000000}}{{end}}{{end}}{{template "a"}}`, "log tag takes too long"},
		"twice and twice":      {"tag", `{{define "a"}}{{if .}}{{template "a" slice . 1}}{{template "a" slice . 1}}{{end}}{{end}}{{template "a" .FullID}}`, "log tag takes too long"},
		"of itself":            {"tag", `{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`, "log tag takes too long"},
		"longer and longer":    {"tag", `{{$x := "xxxxxxxx"}}{{range 1000}}{{$x = printf "%s%s" $x $x}}{{end}}`, "log tag is too long"},
		"padded on":            {"tag", `{{$x := "x"}}{{range 1000}}{{$x = pad $x 9999 9999}}{{end}}`, "log tag is too long"},
		"printed on":           {"tag", `{{$x := "x"}}{{range 1000}}{{$x = print $x $x}}{{end}}`, "log tag is too long"},
		"wide":                 {"tag", `{{printf "%999999s" .Name}}`, "log tag is too long"},
		"wide by an argument":  {"tag", `{{printf "%*s" 999999 .Name}}`, "log tag is too long"},
		"wide by its argument": {"tag", `{{printf "%[1]*d" 999999}}`, "log tag is too long"},
		"exact":                {"tag", `{{printf "%.999999f" 1.0}}`, "log tag is too long"},
		"long template":        {"tag", strings.Repeat("x", maxTemplate+1), "log tag is too long: 65537 bytes"},
		"long":                 {"tag", strings.Repeat("<", maxTemplate-50) + `{{range 999}}{{print "<<<<<<"}}{{end}}`, "log attributes are too long: "},
		"label pattern":        {"labels-regex", "(", "error parsing regexp: missing closing ): `(`"},
		"env pattern":          {"env-regex", "[", "error parsing regexp: missing closing ]: `[`"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Attributes(info(map[string]string{c.option: c.value})); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// FuzzTag: whatever a tag says, what comes of it fits into a line.
func FuzzTag(f *testing.F) {
	f.Add("{{.Name}}/{{.ID}}")
	f.Add(`{{range $i, $a := .ContainerArgs}}{{printf "%9s" $a}}{{end}}`)
	f.Add("{{")
	f.Add(`{{define "a"}}{{range 9}}{{template "a" .}}{{end}}{{end}}{{template "a"}}`)
	f.Fuzz(func(t *testing.T, tag string) {
		got, err := Attributes(info(map[string]string{"tag": tag}))
		if err == nil && len(got["tag"]) > maxAttributes {
			t.Fatalf("%d bytes", len(got["tag"]))
		}
	})
}
