// Package private has the handlers of the private socket, which is root's alone: metrics,
// profiles, and what the engine knows of ports, drops and traffic, for the linkspan
// command. It translates and decides nothing.
package private

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/networks"
	"github.com/linkspan/linkspan/internal/privateapi"
	"github.com/linkspan/linkspan/internal/state"
)

// Inspector is the engine, as far as the private socket looks into it.
type Inspector interface {
	Snapshot() *state.Snapshot
	Plan() desired.State
	// Check says what differs between the plan and the kernel; Resync repairs it.
	Check(ctx context.Context) (desired.Report, error)
	Resync(ctx context.Context) (desired.Report, error)
}

// Options is what the private socket shows.
type Options struct {
	Engine     Inspector
	Drivers    driver.Set            // the kinds of networks there are
	Containers inspect.Containers    // nil: since when they run is not shown
	Traffic    inspect.TrafficReader // nil: nothing is counted
	// Listeners says who waits at a port of the host, by TCP or UDP; nil: only
	// containers are known.
	Listeners func(ctx context.Context, port uint16) ([]facts.Listener, error)
	Explainer inspect.Explainer  // nil: packets are not followed
	Links     inspect.LinkReader // nil: what containers send and receive is not counted
	Hear      Hear               // nil: nothing is captured
	Volumes   VolumeImporter
	Shaper    Shaper            // nil: traffic is not shaped
	Recent    Recent            // for a dump
	Guests    Guests            // nil: no namespaces are attached
	Daemon    privateapi.Daemon // who answers
	Metrics   prometheus.Gatherer
	// Teardown has the daemon end, its containers with it, and take away what it made of
	// the host, once requests under way are answered.
	Teardown func()
	Logger   *slog.Logger
}

// looking is how long a look at the whole kernel may take.
const looking = time.Minute

// server answers on the private socket.
type server struct {
	Options
	reader            *inspect.Reader
	streams, captures streams
}

const (
	// scrapes is how many may read metrics at a time at an address that is anybody's, and scraping how long one may take.
	scrapes  = 4
	scraping = 10 * time.Second
)

// MetricsHandler returns the handler for an address at which whoever comes may read metrics, and nothing else: /metrics.
func MetricsHandler(metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: scrapes, Timeout: scraping}))
	return mux
}

// Handler returns the handler for the private socket, which must be root's alone:
// it profiles the daemon and repairs the host.
//
//	/metrics              what Prometheus collects
//	/debug/pprof/         profiles of the daemon
//	/debug/state          the model and the plan, as text
//	/linkspan/v1/state    GET: what package privateapi calls State; of one container
//	/linkspan/v1/containers/NAME  more
//	/linkspan/v1/plan     GET: what the kernel shall have, a row a line
//	/linkspan/v1/diff     GET: what the kernel has otherwise, a difference a line
//	/linkspan/v1/resync   POST: repair that
//	/linkspan/v1/teardown POST: end, and leave the host as it was
//	/linkspan/v1/ports    GET: published ports, a stretch a line; with /N who has port N
//	/linkspan/v1/drops    GET: what port security dropped, a kind a line; with
//	                      /NAME what holds for that container, as JSON
//	/linkspan/v1/traffic  GET: the counters of ports and networks, as JSON
//	/linkspan/v1/top      GET ?interval=&count=: what package privateapi calls Top, one a line
//	/linkspan/v1/capture  POST ?target=&filter=&snaplen=&count=&duration=: the frames of a
//	                      container or network, as pcapng; it ends when the body does
//	/linkspan/v1/networks/NAME/shape  PUT: what package privateapi calls Shape
//	/linkspan/v1/dump     GET: what package privateapi calls Dump: all of this, without secrets
//	/linkspan/v1/volumes/import  POST ?root=&name=: copy volumes of a Docker data root,
//	                      a line for each
//	/linkspan/v1/firewall GET: what the firewall was asked for, by who asked, in words
//	                      (?format=json: as JSON); with /explain?target=&from=&to= the
//	                      way of a packet through all rules of the host
//	                      plan, diff, resync, ports, drops, too, are JSON with ?format=json
//	/linkspan/v1/attachments  what package privateapi describes: namespaces that are no
//	                      containers' and join networks
func Handler(o Options) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &server{o, inspect.New(inspect.Options{
		Engine: o.Engine, Drivers: o.Drivers, Containers: o.Containers, Traffic: o.Traffic, Listeners: o.Listeners, Explainer: o.Explainer,
		Links: o.Links,
	}), newStreams(maxStreams), newStreams(maxCaptures)}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/state", d.state)
	mux.HandleFunc("GET /linkspan/v1/state", d.answer(d.stateAnswer))
	mux.HandleFunc("GET /linkspan/v1/containers/{container}", d.answer(d.containerAnswer))
	mux.HandleFunc("GET /linkspan/v1/plan", d.plan)
	mux.HandleFunc("GET /linkspan/v1/ports", d.ports)
	mux.HandleFunc("GET /linkspan/v1/ports/{port}", d.portUsers)
	mux.HandleFunc("GET /linkspan/v1/drops", d.drops)
	mux.HandleFunc("GET /linkspan/v1/drops/{container}", d.inspect)
	mux.HandleFunc("GET /linkspan/v1/traffic", d.traffic)
	mux.HandleFunc("GET /linkspan/v1/top", d.top)
	mux.HandleFunc("POST /linkspan/v1/capture", d.capture)
	mux.HandleFunc("GET /linkspan/v1/dump", d.handleDump)
	mux.HandleFunc("PUT /linkspan/v1/networks/{network}/shape", d.answer(d.shape))
	mux.HandleFunc("GET /linkspan/v1/firewall", d.firewall)
	mux.HandleFunc("GET /linkspan/v1/firewall/explain", d.explain)
	mux.HandleFunc("GET /linkspan/v1/diff", d.report(o.Engine.Check, "differs"))
	mux.HandleFunc("POST /linkspan/v1/volumes/import", d.importVolumes)
	mux.HandleFunc("POST /linkspan/v1/resync", d.report(d.resync, "repaired"))
	mux.HandleFunc("POST /linkspan/v1/teardown", d.teardown)
	if o.Guests != nil {
		d.handleAttachments(mux)
	}
	return mux
}

func (d *server) plan(w http.ResponseWriter, r *http.Request) {
	plan := d.Engine.Plan()
	if !asJSON(r) {
		d.text(w, r, plan.String())
		return
	}
	rows := []privateapi.Row{}
	for o := range plan.All() {
		rows = append(rows, privateapi.Row{Kind: string(o.Row.Key().Kind), Owner: string(o.Owner), Text: o.Row.String()})
	}
	d.json(w, r, rows)
}

// asJSON tells whether a request wants its answer as JSON.
func asJSON(r *http.Request) bool { return r.URL.Query().Get("format") == "json" }

// report answers with what a look at the kernel found. The header
// Linkspan-Drift has the number of lines, so that scripts need not count.
func (d *server) report(look func(context.Context) (desired.Report, error), verb string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), looking)
		defer cancel()
		found, err := look(ctx)
		if err != nil {
			http.Error(w, err.Error(), httpkit.StatusOf(err))
			return
		}
		w.Header().Set("Linkspan-Drift", fmt.Sprint(len(found.Drift)))
		if asJSON(r) {
			d.json(w, r, privateapi.Drift{Differences: append([]string{}, found.Drift...), Writes: found.Writes})
			return
		}
		var out bytes.Buffer
		for _, line := range found.Drift {
			fmt.Fprintf(&out, "%s: %s\n", verb, model.Printable(line))
		}
		fmt.Fprintf(&out, "%d differences, %d writes\n", len(found.Drift), found.Writes)
		d.text(w, r, out.String())
	}
}

// teardown answers before the daemon ends: who asked waits for the end of its process.
func (d *server) teardown(w http.ResponseWriter, r *http.Request) {
	d.text(w, r, fmt.Sprintf("process %d stops all containers, takes away what it made of this host, and ends; data stays in %s\n", d.Daemon.Pid, d.Daemon.DataRoot))
	d.Teardown()
}

// state prints the model, a record a line, and the plan.
func (d *server) state(w http.ResponseWriter, r *http.Request) {
	s := d.Engine.Snapshot()
	var out bytes.Buffer
	fmt.Fprintf(&out, "revision %d\n\n", s.Revision)
	for _, n := range networks.ByAge(s) {
		line(&out, "network %s %s driver=%s ipv4=%t ipv6=%t internal=%t pools=%v options=%v",
			model.Short(n.ID), n.Name, n.Driver, n.IPv4, n.IPv6, n.Internal, n.IPAM.Pools, n.Options)
	}
	out.WriteByte('\n')
	for c := range s.Containers() {
		line(&out, "container %s name=%s", model.Short(c.ID), c.Name)
	}
	out.WriteByte('\n')
	for sb := range s.Sandboxes() {
		line(&out, "sandbox %s container=%s name=%s mode=%s up=%t generation=%d net-admin=%t",
			model.Short(sb.ID), model.Short(sb.Container), sb.Name, sb.Mode, sb.Up, sb.Generation, sb.NetAdmin)
		printEndpoints(&out, s, sb.ID)
	}
	fmt.Fprintf(&out, "\n%s", d.Engine.Plan())
	d.text(w, r, out.String())
}

// line writes one line, whatever names and options hold.
func line(out *bytes.Buffer, format string, args ...any) {
	out.WriteString(model.Printable(fmt.Sprintf(format, args...)) + "\n")
}

func printEndpoints(out *bytes.Buffer, s *state.Snapshot, id model.SandboxID) {
	for e := range s.EndpointsOf(id) {
		line(out, "  endpoint %s network=%s up=%t interface=%s mac=%s addresses=[%s %s] aliases=%q priority=%d",
			model.Short(e.ID), model.Short(e.Network), e.Up, e.Interface, e.MAC, e.Addr4, e.Addr6, e.Aliases, e.Priority)
	}
}

func (d *server) text(w http.ResponseWriter, r *http.Request, text string) {
	d.write(w, r, "text/plain; charset=utf-8", []byte(text))
}

func (d *server) write(w http.ResponseWriter, r *http.Request, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	if _, err := w.Write(body); err != nil {
		d.Logger.Debug("answer not written", "op", r.URL.Path, "err", err)
	}
}
