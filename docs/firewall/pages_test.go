// Package firewall_test makes the documents in this folder: for each situation in testdata
// the rules that the firewall writes, in the words of nft(8) and iptables-save(8), and what
// each is for. "go test ./docs/firewall -update" writes them; without it they are compared.
package firewall_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/kernel/hostfilter"
	"github.com/linkspan/linkspan/internal/plan/plantest"
)

var update = flag.Bool("update", false, "write the documents anew")

// situation is a state of the host, as the requests of a page have made it.
type situation struct {
	rows       []desired.Row // policies
	off4, off6 bool
}

// page is one document. Its source is a txtar archive in testdata: first requests, as
// package plantest reads them, then the text. A line "from NAME" puts the requests of
// another page before these and shows what is added to that; "against NAME" says what else to
// compare with, and so does a file "before" with other requests.
// A page with neither is compared with a host that has no network.
type page struct {
	name, text  string
	requests    string
	base        string // name of another page; empty for none
	earlier     string // the requests of before, if there are such
	now, before situation
}

// TestPages writes every page of what the backends make of its situation.
func TestPages(t *testing.T) {
	book := readBook(t)
	for _, p := range book.pages {
		book.golden(t, p.name+".md", fmt.Sprintf("<!-- Generated from testdata/%s.txtar: go test ./docs/firewall -update -->\n\n", p.name)+book.filled(t, p))
	}
	for _, file := range matches(t, "*.md") {
		if !slices.ContainsFunc(book.pages, func(p *page) bool { return p.name+".md" == file }) {
			t.Errorf("%s has no source in testdata", file)
		}
	}
}

// TestIndex: README.md leads to every page.
func TestIndex(t *testing.T) {
	book := readBook(t)
	for _, p := range book.pages {
		if p.name != "README" && !strings.Contains(book.page(t, "README").text, "]("+p.name+".md)") {
			t.Errorf("README does not lead to %s.md", p.name)
		}
	}
}

func (*book) golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the backends write now: go test ./docs/firewall -update, and read the difference", file)
	}
}

// book is all pages, and what they are written with.
type book struct {
	pages []*page
	nft   texts
	used  map[*sentence]bool // of those about rules of iptables
}

func readBook(t *testing.T) *book {
	t.Helper()
	b := &book{nft: readTexts(t), used: map[*sentence]bool{}}
	for _, file := range matches(t, "testdata/*.txtar") {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p := &page{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), requests: string(archive.Comment)}
		for _, f := range archive.Files {
			switch f.Name {
			case "before":
				p.earlier = string(f.Data)
			case "page":
				p.text = string(f.Data)
			default:
				t.Fatalf("%s: nobody knows what %q is", file, f.Name)
			}
		}
		b.pages = append(b.pages, p)
	}
	for _, p := range b.pages {
		var requests string
		requests, p.base = b.requests(t, p.requests)
		p.now = played(t, requests)
		switch {
		case p.earlier != "":
			requests, _ = b.requests(t, p.earlier)
			p.before = played(t, requests)
		case p.base != "":
			requests, _ = b.requests(t, b.page(t, p.base).requests)
			p.before = played(t, requests)
		}
	}
	return b
}

func matches(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (b *book) page(t *testing.T, name string) *page {
	t.Helper()
	i := slices.IndexFunc(b.pages, func(p *page) bool { return p.name == name })
	if i < 0 {
		t.Fatalf("there is no page %s", name)
	}
	return b.pages[i]
}

// requests reads those of a page: what is played, and the page to compare with.
func (b *book) requests(t *testing.T, text string) (played, base string) {
	t.Helper()
	var earlier, own strings.Builder
	for line := range strings.Lines(text) {
		switch verb, name, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "from":
			base = cmp.Or(base, name)
			more, _ := b.requests(t, b.page(t, name).requests)
			earlier.WriteString(more)
		case "against":
			base = name
		default:
			own.WriteString(line)
		}
	}
	return earlier.String() + own.String(), base
}

// played compiles what requests ask for.
func played(t *testing.T, requests string) situation {
	t.Helper()
	in, refused := plantest.Play(t, all.Drivers(), requests)
	if refused != "" {
		t.Fatal(refused)
	}
	want, err := in.Full()
	if err != nil {
		t.Fatal(err)
	}
	s := situation{off4: in.Firewall.Off4, off6: in.Firewall.Off6}
	for o := range want.Kind(desired.KindPolicy) {
		s.rows = append(s.rows, o.Row)
	}
	return s
}

var placeholder = regexp.MustCompile(`(?m)^\{\{(\S+?)(?: (.*))?\}\}$`)

// filled is the text of a page with what the backends write in the places for it.
func (b *book) filled(t *testing.T, p *page) string {
	t.Helper()
	text := placeholder.ReplaceAllStringFunc(p.text, func(s string) string {
		words := placeholder.FindStringSubmatch(s)
		out := b.fill(t, p, words[1], words[2])
		if out == "" {
			t.Errorf("%s: %s is empty", p.name, s)
		}
		return strings.TrimSpace(out)
	})
	return strings.TrimSpace(text) + "\n"
}

// fill returns what stands in place of {{verb argument}}.
func (b *book) fill(t *testing.T, p *page, verb, argument string) string {
	t.Helper()
	switch verb {
	case "nftables": // elements that are added, and the rules that look at them
		return b.nftDifference(t, p)
	case "nftables-chains": // FAMILY REGEXP: chains as a whole
		family, chains, _ := strings.Cut(argument, " ")
		return b.nftChains(t, p, options(p.now), family, chains)
	case "nftables-beside": // all that stands in inet beside iptables
		beside := options(p.now)
		beside.Beside = true
		return b.nftChains(t, p, beside, "inet", ".*")
	case "nftables-held": // FAMILY and "beside": all that the keeper holds in it
		family, beside, _ := strings.Cut(argument, " ")
		held := options(p.now)
		held.Held, held.Beside = heldName, beside != ""
		return b.nftChains(t, p, held, family, ".*")
	case "nftables-rules": // REGEXP: rules by their comments
		return b.nftRules(t, p, argument)
	case "nftables-sets": // FAMILY REGEXP: sets with their types
		family, sets, _ := strings.Cut(argument, " ")
		return b.nftSets(t, p, family, sets)
	case "iptables": // rules that are added, and taken away
		return b.iptablesDifference(t, p) + b.besideDifference(t, p)
	case "iptables-rules": // REGEXP: rules by their text
		return b.iptablesRules(t, p, argument)
	case "hostfilter": // what is written into the host's FORWARD chain
		return code("", hostfilter.Script(bridges(p.now)))
	}
	t.Fatalf("%s: nobody knows what {{%s}} is", p.name, verb)
	return ""
}

func bridges(s situation) (out []string) {
	for _, row := range s.rows {
		if r, ok := row.(desired.BridgePolicy); ok {
			out = append(out, r.Bridge)
		}
	}
	return out
}

// code is a block of text as it is.
func code(title, text string) string {
	if text == "" {
		return ""
	}
	if title != "" {
		title += "\n\n"
	}
	return title + "```\n" + strings.TrimSuffix(text, "\n") + "\n```\n\n"
}
