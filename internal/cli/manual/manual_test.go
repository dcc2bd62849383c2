package manual

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var header = Header{Version: "1.2-3", Date: time.Unix(86400, 0)}

func TestCommand(t *testing.T) {
	root := &cobra.Command{Use: "tool [OPTIONS] COMMAND", Short: "A tool", Long: "Says \"x\".\n.TH is no macro\n'nor this", RunE: func(*cobra.Command, []string) error { return nil }}
	kept := &cobra.Command{Use: "kept FILE", Short: "Keeps", Example: "tool kept a-b", Run: func(*cobra.Command, []string) {}}
	kept.Flags().StringP("with", "w", "none", "with `what`")
	kept.Flags().Bool("secret", false, "x")
	kept.Flags().Lookup("secret").Hidden = true
	hidden, other := &cobra.Command{Use: "hidden", Hidden: true, Run: kept.Run}, &cobra.Command{Use: "other", Short: "Another", Run: kept.Run}
	root.AddCommand(kept, hidden, other)
	pages := Command(header, root, func(c *cobra.Command) bool { return c == kept })
	if len(pages) != 2 || pages[0].Name != "tool" || pages[1].Name != "tool-kept" {
		t.Fatalf("%+v", pages)
	}
	for _, want := range []string{
		`.TH "TOOL" "1" "1970-01-02" "Linkspan 1.2\-3" "Linkspan"`, `tool \- A tool`, `Says \(dqx\(dq.`, "\n\\&.TH is no macro\n", "\n\\&'nor this\n", ".B other\nAnother\n",
	} {
		if !strings.Contains(pages[0].Text, want) {
			t.Errorf("%s lacks %q", pages[0].Text, want)
		}
	}
	for _, want := range []string{".TP\n\\fB\\-w\\fR, \\fB\\-\\-with\\fR \\fIwhat\\fR\nwith what (default none)\n", ".nf\ntool kept a\\-b\n.fi\n"} {
		if !strings.Contains(pages[1].Text, want) {
			t.Errorf("%s lacks %q", pages[1].Text, want)
		}
	}
	if all := pages[0].Text + pages[1].Text; strings.Contains(all, "hidden") || strings.Contains(all, "secret") {
		t.Error("what is hidden is shown")
	}
}

func TestDaemon(t *testing.T) {
	flags := pflag.NewFlagSet("d", pflag.ContinueOnError)
	flags.Int("mtu", 1500, "bytes")
	p := Daemon(header, Program{Name: "d", Short: "A daemon", About: []string{"First.", "Second."}, Flags: flags, Files: [][2]string{{"/etc/d.json", "its settings"}}})
	for _, want := range []string{"First.\n.PP\nSecond.\n", "\\fB\\-\\-mtu\\fR \\fIint\\fR\nbytes (default 1500)\n", ".I /etc/d.json\nits settings\n"} {
		if p.Section != 8 || !strings.Contains(p.Text, want) {
			t.Errorf("%s lacks %q", p.Text, want)
		}
	}
}

// FuzzEscape: no text begins a line of the page's own language, or another line.
func FuzzEscape(f *testing.F) {
	f.Add(".so /etc/passwd\n'x\\fB")
	f.Fuzz(func(t *testing.T, text string) {
		if out := escape(text); strings.ContainsAny(out, "\n\r") || strings.HasPrefix(out, ".") || strings.HasPrefix(out, "'") {
			t.Errorf("%q is %q", text, out)
		}
	})
}
