package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"text/template"

	"github.com/spf13/cobra"
)

// format is how an answer is to be written: "table" for people, "json", or a template of
// Go's package text/template for each row.
type format struct{ text string }

// add gives a command the option.
func (f *format) add(c *cobra.Command) {
	c.Flags().StringVar(&f.text, "format", "table", `Format output: "table", "json", or a Go template`)
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// table tells whether it is for people.
func (f format) table() bool { return f.text == "" || f.text == "table" }

// print writes a value as it is wanted; table writes it for people.
func (f format) print(w io.Writer, value any, table func(io.Writer) error) error {
	switch {
	case f.table():
		return table(w)
	case f.text == "json":
		return writeJSON(w, value)
	}
	return f.fill(w, value)
}

// writeJSON writes a value as JSON that people can read.
func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "    ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// fill writes a value by the template; of a list, each of its rows on a line of its own.
func (f format) fill(w io.Writer, value any) error {
	t, err := template.New("").Funcs(template.FuncMap{"json": func(v any) (string, error) {
		raw, err := json.Marshal(v)
		return string(raw), err
	}}).Parse(f.text)
	if err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	rows := []any{value}
	if list := reflect.ValueOf(value); list.Kind() == reflect.Slice {
		rows = nil
		for i := range list.Len() {
			rows = append(rows, list.Index(i).Interface())
		}
	}
	for _, row := range rows {
		if err := t.Execute(w, row); err != nil {
			return err
		}
		if _, err = fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return nil
}
