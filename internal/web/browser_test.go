package web

import (
	"context"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/linkspan/linkspan/internal/diagnose"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// browserVariable names a Chromium; `make web` sets it.
const browserVariable = "LINKSPAN_CHROMIUM"

// patience is how long something may take to be seen.
const patience = 30 * time.Second

// browser is a page in a real browser.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu    sync.Mutex
	asked []string // URLs
	wrong []string // what the page's program complained of
}

// TestBrowser looks at the page as people do.
func TestBrowser(t *testing.T) {
	if os.Getenv(browserVariable) == "" {
		t.Skip(browserVariable + " names no Chromium: make web brings one")
	}
	t.Run("Page", testPage)
	t.Run("WithoutToken", testWithoutToken)
	t.Run("Large", testLarge)
}

func open(t *testing.T, at string) *browser {
	t.Helper()
	// Root has no sandbox to go into, and what is opened is our own page.
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(os.Getenv(browserVariable)), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1400, 1000))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // it waits until the browser has ended
			t.Error(err)
		}
	})
	if err := chromedp.Run(ctx); err != nil { // the browser lives as long as the context that it is first used with
		t.Fatal(err)
	}
	b := &browser{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			b.asked = append(b.asked, e.Request.URL)
		case *runtime.EventExceptionThrown:
			b.wrong = append(b.wrong, e.ExceptionDetails.Error())
		}
	})
	b.do(network.Enable(), chromedp.Navigate(at))
	return b
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// sees waits until an expression of the page's is true.
func (b *browser) sees(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	var is bool
	if err := chromedp.Run(ctx, chromedp.Poll(expression, &is, chromedp.WithPollingInterval(10*time.Millisecond))); err != nil {
		var text string
		_ = chromedp.Run(b.ctx, chromedp.Evaluate("document.body.innerText", &text))
		b.t.Fatalf("never seen: %s: %v; the page says\n%.2000s", expression, err, text)
	}
}

func (b *browser) text(selector string) (out string) {
	b.t.Helper()
	b.do(chromedp.Text(selector, &out, chromedp.ByQuery))
	return out
}

// end checks that the page has asked nobody else, and that its program never failed.
func (b *browser) end(origin string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range b.asked {
		if !strings.HasPrefix(u, origin+"/") && u != origin {
			b.t.Errorf("the page asked for %s", u)
		}
	}
	if len(b.asked) < 4 {
		b.t.Errorf("requests were not seen: %v", b.asked)
	}
	if len(b.wrong) > 0 {
		b.t.Errorf("the page's program: %v", b.wrong)
	}
}

// testPage: networks appear and vanish, what is clicked is shown, the filter and the keyboard work.
func testPage(t *testing.T) {
	d := newDaemon(3, 6)
	s := serve(t, Options{Daemon: d, Token: token, Trace: func(_ context.Context, from, to string) (diagnose.Report, error) {
		return diagnose.Report{Outcome: diagnose.Broken, Verdict: from + " does not reach " + to, Whose: "somebody else's rule", WayOut: "remove it",
			Steps: []diagnose.Step{{About: "firewall", Status: diagnose.Wrong, Text: "dropped <b>here</b>"}}}, nil
	}})
	b := open(t, s.URL+"/#token="+token)
	b.sees(`document.querySelectorAll("article").length === 3 && document.querySelectorAll("article li").length === 6`)
	b.sees(`!location.href.includes("token")`)
	b.sees(`document.querySelector("#daemon").textContent.includes("6 of 6 containers up")`)
	b.sees(`document.querySelector("#drift").textContent === "as wanted"`)

	d.change(func(s *privateapi.State) { s.Networks = append(s.Networks, networkOf(3)) })
	b.sees(`[...document.querySelectorAll("article h2")].some((h) => h.textContent === "net0003")`)
	d.change(func(s *privateapi.State) {
		s.Networks = slices.DeleteFunc(s.Networks, func(n privateapi.Network) bool { return n.Name == "net0003" })
		s.Containers[0].Name = `<img src="/evil">`
	})
	b.sees(`document.querySelectorAll("article").length === 3 && document.body.innerText.includes('<img src="/evil">') && !document.querySelector("article img")`)

	d.top <- privateapi.Top{Version: privateapi.TopVersion,
		Containers: []privateapi.TopContainer{{ContainerID: id("c", 1), Network: "net0001", In: privateapi.Flow{BytesPerSecond: 2_500_000}}},
		Networks:   []privateapi.TopNetwork{{NetworkID: id("n", 1), In: privateapi.Flow{BytesPerSecond: 2_500_000}}}}
	b.sees(`document.querySelector('[data-container="` + id("c", 1) + `"] .rates').textContent.includes("2.50 MB/s")`)

	b.do(chromedp.Click(`[data-container="`+id("c", 1)+`"]`, chromedp.ByQuery))
	b.sees(`document.querySelector("#detail").innerText.includes("Container box0001") && document.querySelector("#detail").innerText.includes("accepted: to 8001/tcp")`)
	b.do(chromedp.KeyEvent("\x1b"))
	b.sees(`document.querySelector("#detail").hidden`)
	b.do(chromedp.Click(`[data-network="`+id("n", 0)+`"]`, chromedp.ByQuery))
	b.sees(`document.querySelector("#detail").innerText.includes("may talk to one another")`)

	b.do(chromedp.KeyEvent("/"))
	b.sees(`document.activeElement.id === "filter"`)
	b.do(chromedp.KeyEvent("\b"), chromedp.KeyEvent("box0004")) // a driver, unlike a keyboard, writes the key as well
	b.sees(`document.querySelectorAll("article").length === 1 && document.querySelectorAll("article li").length === 1`)
	b.do(chromedp.KeyEvent("\x1b"))
	b.sees(`document.querySelectorAll("article").length === 3`)

	b.do(chromedp.SendKeys(`[name=from]`, "box0001", chromedp.ByQuery), chromedp.SendKeys(`[name=to]`, "box0002:80\r", chromedp.ByQuery))
	b.sees(`document.querySelector("#detail .verdict")?.textContent === "broken: box0001 does not reach box0002:80"`)
	if text := b.text("#detail"); !strings.Contains(text, "dropped <b>here</b>") || !strings.Contains(text, "remove it") {
		t.Errorf("the trace says %q", text)
	}
	d.leave(&privateapi.Away{Socket: "/x", Err: os.ErrClosed})
	b.sees(`document.querySelector("#away").innerText.includes("the daemon is away")`)
	d.leave(nil)
	b.sees(`document.querySelector("#away").hidden`)
	b.end(s.URL)
}

// testWithoutToken: who has not opened the address with the token is told so.
func testWithoutToken(t *testing.T) {
	s := serve(t, Options{Daemon: newDaemon(1, 1), Token: token})
	b := open(t, s.URL+"/")
	b.sees(`document.querySelector("#away").innerText.includes("the token is missing or wrong")`)
	b.sees(`document.querySelectorAll("article").length === 0`)
}

// testLarge: a thousand containers on a hundred networks are drawn, and drawn again when one changes.
func testLarge(t *testing.T) {
	d := newDaemon(100, 1000)
	s := serve(t, Options{Daemon: d, Token: token})
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	at.Fragment = "token=" + token
	b := open(t, at.String())
	b.sees(`document.querySelectorAll("article li").length === 1000`)
	d.change(func(s *privateapi.State) { s.Containers[999].Name = "changed" })
	b.sees(`[...document.querySelectorAll(".name")].some((e) => e.textContent === "changed")`)
	var milliseconds float64
	b.do(chromedp.Evaluate(`performance.getEntriesByName("draw").reduce((most, e) => Math.max(most, e.duration), 0)`, &milliseconds))
	t.Logf("drawn in %.0f ms", milliseconds)
	if milliseconds == 0 {
		t.Error("how long it takes to draw was not measured")
	}
	b.end(s.URL)
}
