package cli

import (
	"encoding/json"
	"fmt"
	"io"
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

// print writes a value as it is wanted; table writes it for people.
func (f format) print(w io.Writer, value any, table func(io.Writer) error) error {
	switch f.text {
	case "", "table":
		return table(w)
	case "json":
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

// fill writes a value by the template.
func (f format) fill(w io.Writer, value any) error {
	t, err := template.New("").Funcs(template.FuncMap{"json": func(v any) (string, error) {
		raw, err := json.Marshal(v)
		return string(raw), err
	}}).Parse(f.text)
	if err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	if err := t.Execute(w, value); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w)
	return err
}
