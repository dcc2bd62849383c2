package private

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/privateapi"
	"github.com/linkspan/linkspan/internal/redact"
)

// Recent is what the daemon remembers for a dump. Fields that are nil are left out.
type Recent struct {
	Settings any // as JSON encodes it
	Lines    func() []string
	Events   func() []events.Message
}

// Texts that are let into a dump, of each kind of document: names, addresses and what the
// engine itself has chosen. All others are removed.
var (
	networkRules = redact.Rules{
		"ID", "Name", "Driver", "Scope", "Created", "ConfigFrom", "IPAM/Driver", "IPAM/Pools/*", "IPAM/Pools/Aux/*",
		"Options/com.docker.network.*", "Options/com.linkspan.*", "Options/parent", "Options/macvlan_mode", "Options/ipvlan_mode", "Options/ipvlan_flag", "Options/encrypted",
	}
	sandboxRules = redact.Rules{
		"ID", "Container", "Name", "Mode", "Hostname", "Domainname", "DNS/*", "Publish/*", "Ports/*", "Routed/*", "Links/*", "Links/Ports/*", "LinkedBy",
		"Guest/Path", "Pending/ID", "Pending/Network", "Pending/MAC", "Pending/IPv4", "Pending/IPv6", "Pending/Aliases",
	}
	endpointRules = redact.Rules{
		"ID", "Network", "Sandbox", "Interface", "MAC", "Addr4", "Addr6", "LinkLocal", "Aliases", "Links/*", "Lease4/*", "Lease4/Routes/*", "Claim/*", "Service/*",
		"DriverOpts/com.docker.network.*", "DriverOpts/com.linkspan.*",
	}
	containerRules = redact.Rules{
		"ID", "Name", "Created", "Image", "Sandbox", "State/StartedAt", "State/FinishedAt", "Health/Status", "Links/*",
		"Config/Hostname", "Config/Domainname", "Config/Image", "Config/StopSignal",
		"Host/NetworkMode", "Host/RestartPolicy/Name", "Host/LogConfig/Type", "Host/CapAdd", "Host/CapDrop", "Host/CgroupnsMode", "Host/Dns", "Host/DnsOptions", "Host/DnsSearch",
		"Host/ExtraHosts", "Host/IpcMode", "Host/PidMode", "Host/UTSMode", "Host/UsernsMode", "Host/Runtime",
		"Bound/Protocol", "Bound/Bindings/*", "Exposed/Protocol", "Mounts/Type", "Mounts/Driver", "Mounts/Propagation", "OwnEntries/*", "FormerName",
	}
	settingsRules = redact.Rules{
		"ConfigFile", "Hosts", "Group", "DataRoot", "ExecRoot", "Pidfile", "Containerd", "LogLevel", "LogFormat", "Bridge", "BIP", "BIP6", "FixedCIDR", "FixedCIDR6",
		"Gateway4", "Gateway6", "PublishIP", "PublishPolicy", "FirewallRespect", "Pools/*", "SwarmAdvertise", "Backend", "DNS", "DNSSearch", "DNSOptions", "HostGatewayIPs",
		"InitPath", "LogDriver", "CgroupnsMode", "InsecureRegistries",
	}
	eventRules = redact.Rules{
		"Type", "Action", "Actor/ID", "Actor/Attributes/name", "Actor/Attributes/container", "Actor/Attributes/type", "Actor/Attributes/driver", "Actor/Attributes/image",
		"Actor/Attributes/signal", "Actor/Attributes/exitCode", "Actor/Attributes/execID", "Actor/Attributes/what", "scope", "id", "status", "from",
	}
)

// dump is one in the making. The first failure is written into it: what else there is, is
// worth having.
type dump struct {
	answer privateapi.Dump
	secret []string // texts that were taken out
	errs   []string
}

// handleDump answers with everything that the daemon knows, without what may be secret.
func (d *server) handleDump(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), looking)
	defer cancel()
	if err := httpkit.WriteJSON(w, http.StatusOK, d.dump(ctx)); err != nil {
		d.Logger.Debug("answer not written", "op", r.URL.Path, "err", err)
	}
}

func (d *server) dump(ctx context.Context) privateapi.Dump {
	out := &dump{answer: privateapi.Dump{Version: privateapi.DumpVersion, At: time.Now().UTC(), Daemon: d.Daemon}}
	d.dumpState(out)
	if d.Recent.Settings != nil {
		out.documents("settings.json", settingsRules, d.Recent.Settings)
	}
	if d.Recent.Events != nil {
		var all []any
		for _, e := range d.Recent.Events() {
			all = append(all, e)
		}
		out.documents("events.json", eventRules, all...)
	}
	// The texts below are of our own making, but may quote what a user wrote.
	scrub := redact.NewScrubber(out.secret)
	out.add("plan.txt", scrub.Text(d.Engine.Plan().String()))
	if found, err := d.Engine.Check(ctx); err != nil {
		out.errs = append(out.errs, "drift: "+err.Error())
	} else {
		out.add("drift.txt", scrub.Text(strings.Join(append(found.Drift, ""), "\n")))
	}
	if d.Recent.Lines != nil {
		out.add("log.txt", scrub.Text(strings.Join(append(d.Recent.Lines(), ""), "\n")))
	}
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		out.errs = append(out.errs, "goroutines: "+err.Error())
	}
	out.add("goroutines.txt", stacks.String())
	if len(out.errs) > 0 {
		out.add("missing.txt", scrub.Text(strings.Join(append(out.errs, ""), "\n")))
	}
	return out.answer
}

// dumpState adds the model, a file a class of records.
func (d *server) dumpState(out *dump) {
	s := d.Engine.Snapshot()
	var networks, sandboxes, endpoints, containers []any
	for n := range s.Networks() {
		networks = append(networks, n)
	}
	for sb := range s.Sandboxes() {
		sandboxes = append(sandboxes, sb)
	}
	for e := range s.Endpoints() {
		endpoints = append(endpoints, e)
	}
	for c := range s.Containers() {
		containers = append(containers, json.RawMessage(c.Document))
	}
	out.documents("state/networks.json", networkRules, networks...)
	out.documents("state/sandboxes.json", sandboxRules, sandboxes...)
	out.documents("state/endpoints.json", endpointRules, endpoints...)
	out.documents("state/containers.json", containerRules, containers...)
}

func (d *dump) add(name, text string) {
	d.answer.Files = append(d.answer.Files, privateapi.DumpFile{Name: name, Text: text})
}

// documents adds a file of JSON documents, one after the other, each by itself without what
// may be secret. One that cannot be read is left out whole.
func (d *dump) documents(name string, rules redact.Rules, all ...any) {
	var out strings.Builder
	for _, value := range all {
		raw, err := json.Marshal(value)
		var clean []byte
		if err == nil {
			clean, err = rules.JSON(raw)
		}
		if err != nil {
			d.errs = append(d.errs, name+": "+err.Error())
			continue
		}
		if texts, err := rules.Texts(raw); err == nil { // as it was read above
			d.secret = append(d.secret, texts...)
		}
		out.Write(clean)
		out.WriteByte('\n')
	}
	d.add(name, out.String())
}
