package logger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"
)

var errTooLong = fmt.Errorf("log tag is too long: at most %d bytes", maxAttributes)

// expand returns what a tag's template makes of a container.
func expand(text string, i *Info) (string, error) {
	t, err := template.New("log-tag").Funcs(template.FuncMap{
		//lint:ignore SA1019 Docker's templates have this one
		"title": strings.Title, //nolint:staticcheck // the same for golangci-lint
		"json":  asJSON, "split": strings.Split, "join": strings.Join,
		"lower": strings.ToLower, "upper": strings.ToUpper, "pad": pad, "truncate": truncate,
	}).Parse(text)
	if err != nil {
		return "", err
	}
	var out bounded
	if err := t.Execute(&out, i); err != nil {
		return "", err
	}
	return out.text.String(), nil
}

// bounded ends a template that would write for ever.
type bounded struct{ text bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.text.Len()+len(p) > maxAttributes {
		return 0, errTooLong
	}
	return b.text.Write(p)
}

// The functions of Docker's templates.

func asJSON(v any) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSpace(out.String()), err
}

func pad(text string, before, after int) (string, error) {
	if max(before, after) > maxAttributes {
		return "", errTooLong
	}
	if text == "" {
		return "", nil
	}
	return strings.Repeat(" ", before) + text + strings.Repeat(" ", after), nil
}

func truncate(text string, length int) string {
	if len(text) < length {
		return text
	}
	return text[:length]
}
