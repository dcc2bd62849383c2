// Package config turns dockerd's flags and daemon.json keys into one typed
// Config, so that linkspand starts wherever dockerd did.
//
// It decides nothing about networks. What it does not know, or knows and cannot
// do yet, it says; nothing is passed over in silence.
package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/model"
)

// Config is everything a user can set about the daemon.
type Config struct {
	ConfigFile string   // need not be there
	Hosts      []string // where the API listens: unix:///path, tcp://host:port, fd://
	Group      string   // group of unix sockets
	DataRoot   string
	ExecRoot   string
	Pidfile    string
	Containerd string // socket of a running containerd; empty: a child of our own
	LogLevel   string
	LogFormat  string // "text" or "json"
	TLS        TLS
	// Insecure is --insecure: TCP at addresses of this machine's own needs no TLS.
	Insecure bool
	// MetricsAddr is where metrics are served to whoever asks, host:port; empty: nowhere but on the private socket.
	MetricsAddr string
	// Validate is --validate: the settings are to be checked, and nothing started.
	Validate bool
	// OldestAPI is the NN of the oldest API version 1.NN that is served
	// (min-api-version); 0: every one there is.
	OldestAPI int

	Bridge     string // an existing bridge for the default network, or "none"
	BIP, BIP6  netip.Prefix
	FixedCIDR  netip.Prefix
	FixedCIDR6 netip.Prefix
	Gateway4   netip.Addr
	Gateway6   netip.Addr
	IPv6       bool
	ICC        bool
	Masquerade bool
	PublishIP  netip.Addr // default host address of published ports
	// PublishPolicy is --publish-policy: "any", "private" or "localhost".
	PublishPolicy string
	// FirewallRespect is --firewall-respect: "none", or "host" for published ports that
	// the host\'s own input rules judge.
	FirewallRespect string
	MTU             int // bytes; of the default bridge
	Pools           []Pool
	NetworkOptions  []string // driver=key=value
	// SwarmAdvertise is --swarm-default-advertise-addr: an address or an interface.
	SwarmAdvertise string
	// BridgeDNS is --default-bridge-dns: names work on the default bridge too.
	BridgeDNS bool

	Forward bool // switch IP forwarding on
	NoDrop  bool // --ip-forward-no-drop
	// DirectRouting is --allow-direct-routing: published ports can be reached at
	// containers' own addresses too, and so can what the administrator's rules accept.
	DirectRouting bool
	// AcceptMark is --bridge-accept-fwmark: bridge networks let in packets with it; nil
	// if there is none.
	AcceptMark *Mark
	Firewall4  bool   // --iptables
	Firewall6  bool   // --ip6tables
	Backend    string // BackendNFTables or BackendIPTables

	DNS            []netip.Addr
	DNSSearch      []string
	DNSOptions     []string
	HostGatewayIPs []netip.Addr

	Init     bool   // an init is process 1 of containers that do not say otherwise
	InitPath string // of the init; empty: docker-init, tini-static or tini in $PATH

	// HTTPProxy, HTTPSProxy and NoProxy say by way of whom registries are reached; empty: what
	// the environment says.
	HTTPProxy, HTTPSProxy, NoProxy string

	LogDriver  string
	LogOptions map[string]string
	Settings
	// given is what the user set, by the name of the flag.
	given map[string]string
}

// Pool is one --default-address-pool: subnets with Size bits are cut from Base.
type Pool struct {
	Base netip.Prefix
	Size int
}

// Mark is a mark of packets (fwmark): Value, in the bits of Mask.
type Mark struct {
	Value, Mask uint32
}

// DefaultConfigFile is read if it is there; a file named with --config-file must
// be there.
const DefaultConfigFile = "/etc/docker/daemon.json"

// The firewall backends.
const (
	BackendNFTables = "nftables"
	BackendIPTables = "iptables"
)

// Flags returns the flags that have an effect, for those who describe them.
func Flags() *pflag.FlagSet {
	c, flags := Config{LogOptions: map[string]string{}}, pflag.NewFlagSet("linkspand", pflag.ContinueOnError)
	c.define(flags)
	c.Settings.define(flags)
	return flags
}

// Parse reads the arguments and the configuration file they lead to.
func Parse(args []string) (Config, error) {
	c := Config{LogOptions: map[string]string{}}
	flags := pflag.NewFlagSet("linkspand", pflag.ContinueOnError)
	file := c.define(flags)
	c.Settings.define(flags)
	defineForeign(flags)
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q: linkspand takes flags only", flags.Arg(0))
	}
	if err := readFile(flags, *file); err != nil {
		return c, err
	}
	if err := refuseUnsupported(flags); err != nil {
		return c, err
	}
	c.ConfigFile, c.given = *file, map[string]string{}
	flags.Visit(func(f *pflag.Flag) { c.given[f.Name] = f.Value.String() })
	delete(c.given, "config-file")
	return c.finish()
}

// define declares the flags that have an effect.
//
//docker:partly dockerd --containerd: without it the daemon starts one of its own, also where a containerd runs
//docker:partly dockerd --data-root: the default is /var/lib/linkspan
//docker:partly dockerd --exec-root: the default is /run/linkspan
//docker:partly dockerd --pidfile: the default is /run/linkspand.pid: Docker's own init script ends whoever is in docker.pid
//docker:partly dockerd --firewall-backend: the default is nftables
//docker:partly dockerd --host: TCP that verifies no client is refused; with `--insecure` it is allowed at 127.0.0.1 and ::1
//docker:added dockerd --insecure: TCP without TLS at 127.0.0.1 and ::1
//docker:added dockerd --default-bridge-dns: names work on the default bridge too
//docker:added dockerd --firewall-respect: whether the host's own input rules judge published ports
//docker:added dockerd --publish-policy: where ports are published that name no address
func (c *Config) define(flags *pflag.FlagSet) (file *string) {
	file = flags.String("config-file", DefaultConfigFile, "configuration file of the daemon")
	flags.StringArrayVarP(&c.Hosts, "host", "H", nil, "socket to listen on: unix:///path, tcp://host:port, or fd:// for those of systemd")
	c.TLS.define(flags)
	flags.BoolVar(&c.Insecure, "insecure", false, "TCP at 127.0.0.1 and ::1 without TLS: every program of this machine may be root")
	flags.StringVar(&c.MetricsAddr, "metrics-addr", "", "host:port at which Prometheus may fetch metrics")
	flags.StringVarP(&c.Group, "group", "G", "docker", "group of the unix socket")
	flags.StringVar(&c.DataRoot, "data-root", "/var/lib/linkspan", "folder for what must outlive a reboot")
	flags.StringVar(&c.ExecRoot, "exec-root", "/run/linkspan", "folder for what must not outlive a reboot")
	flags.StringVarP(&c.Pidfile, "pidfile", "p", "/run/linkspand.pid", "file for the process ID")
	flags.StringVar(&c.Containerd, "containerd", "", "socket of a running containerd; without it the daemon starts its own")
	flags.StringVarP(&c.LogLevel, "log-level", "l", "info", "debug, info, warn or error")
	flags.StringVar(&c.LogFormat, "log-format", "text", "text or json")
	flags.BoolVar(&c.Validate, "validate", false, "check the settings and end")
	flags.Var(apiValue{&c.OldestAPI}, "min-api-version", "oldest version of the API that is served: 1.44")

	flags.StringVarP(&c.Bridge, "bridge", "b", "", "existing bridge for the default network, or none")
	flags.Var(prefixValue{&c.BIP}, "bip", "address and subnet of the default bridge")
	flags.Var(prefixValue{&c.BIP6}, "bip6", "IPv6 address and subnet of the default bridge")
	flags.Var(prefixValue{&c.FixedCIDR}, "fixed-cidr", "addresses on the default bridge come from here")
	flags.Var(prefixValue{&c.FixedCIDR6}, "fixed-cidr-v6", "IPv6 addresses on the default bridge come from here")
	flags.Var(addrValue{&c.Gateway4}, "default-gateway", "gateway of the default bridge's containers")
	flags.Var(addrValue{&c.Gateway6}, "default-gateway-v6", "IPv6 gateway of the default bridge's containers")
	flags.BoolVar(&c.IPv6, "ipv6", false, "IPv6 on the default bridge")
	flags.BoolVar(&c.ICC, "icc", true, "containers on the default bridge may talk to one another")
	flags.BoolVar(&c.Masquerade, "ip-masq", true, "the default bridge's traffic leaves under the host's address")
	flags.Var(addrValue{&c.PublishIP}, "ip", "default host address of published ports")
	flags.StringVar(&c.PublishPolicy, "publish-policy", "any", "where ports are published that name no address: any, private or localhost")
	flags.StringVar(&c.FirewallRespect, "firewall-respect", "none", "whose firewall judges published ports: none (only ours), or host (its input rules)")
	flags.IntVar(&c.MTU, "mtu", 1500, "MTU of the default bridge in bytes")
	flags.Var(poolsValue{&c.Pools}, "default-address-pool", "base=CIDR,size=BITS: where subnets come from; may be repeated")
	flags.StringVar(&c.SwarmAdvertise, "swarm-default-advertise-addr", "", "address or interface by which other hosts of a swarm reach this one")
	flags.BoolVar(&c.BridgeDNS, "default-bridge-dns", false, "containers on the default bridge find one another by name")
	flags.StringArrayVar(&c.NetworkOptions, "default-network-opt", nil, "driver=key=value: default options of new networks")

	flags.BoolVar(&c.Forward, "ip-forward", true, "switch IP forwarding on")
	flags.BoolVar(&c.NoDrop, "ip-forward-no-drop", false, "do not drop foreign traffic when forwarding was switched on")
	flags.BoolVar(&c.DirectRouting, "allow-direct-routing", false, "published ports, and what your own rules accept, can be reached at containers' own addresses")
	flags.Var(markValue{&c.AcceptMark}, "bridge-accept-fwmark", "mark[/mask] of packets that bridge networks let in")
	flags.BoolVar(&c.Firewall4, "iptables", true, "write rules of the IPv4 firewall, of either backend")
	flags.BoolVar(&c.Firewall6, "ip6tables", true, "write rules of the IPv6 firewall, of either backend")
	flags.StringVar(&c.Backend, "firewall-backend", BackendNFTables, "nftables or iptables: whose rules the firewall is written in")

	flags.Var(addrsValue{&c.DNS}, "dns", "DNS server of containers; may be repeated")
	flags.StringArrayVar(&c.DNSSearch, "dns-search", nil, "search domain of containers; may be repeated")
	flags.StringArrayVar(&c.DNSOptions, "dns-opt", nil, "resolver option of containers; may be repeated")
	flags.Var(addrsValue{&c.HostGatewayIPs}, "host-gateway-ip", "address that host-gateway stands for")

	flags.BoolVar(&c.Init, "init", false, "run an init in containers that forwards signals and reaps processes")
	flags.StringVar(&c.InitPath, "init-path", "", "path of that init; without it docker-init, tini-static or tini in $PATH")
	flags.StringVar(&c.HTTPProxy, "http-proxy", "", "URL of the proxy to registries that speak HTTP; without it $HTTP_PROXY")
	flags.StringVar(&c.HTTPSProxy, "https-proxy", "", "URL of the proxy to registries that speak HTTPS; without it $HTTPS_PROXY")
	flags.StringVar(&c.NoProxy, "no-proxy", "", "hosts and subnets that are reached without a proxy; without it $NO_PROXY")
	flags.StringVar(&c.LogDriver, "log-driver", "json-file", "json-file, local, journald, syslog or none")
	flags.Var(optionsValue{c.LogOptions}, "log-opt", "key=value option of the log driver; may be repeated")
	return file
}

// finish checks what concerns more than one setting and fills in the rest.
func (c Config) finish() (Config, error) {
	var err error
	c.TLS = c.TLS.finish(c.given)
	if c.Hosts, err = hosts(c.Hosts, c.TLS.Enabled); err != nil {
		return c, err
	}
	if err := c.checkAccess(); err != nil {
		return c, err
	}
	for _, path := range []*string{&c.DataRoot, &c.ExecRoot} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return c, err
		}
		*path = abs
	}
	c.Runtimes.Folder = filepath.Join(c.DataRoot, "runtimes")
	if err := c.Settings.check(); err != nil {
		return c, err
	}
	c.Backend = cmp.Or(c.Backend, BackendNFTables)
	if c.LogLevel, err = logLevel(c.LogLevel); err != nil {
		return c, err
	}
	switch {
	case c.LogFormat != "text" && c.LogFormat != "json":
		return c, fmt.Errorf("invalid log format: %s", c.LogFormat)
	case c.Backend != BackendNFTables && c.Backend != BackendIPTables && c.Backend != "":
		return c, fmt.Errorf(`invalid firewall-backend: allowed values are "iptables" and "nftables"`)
	case c.Bridge != "" && c.BIP.IsValid():
		return c, fmt.Errorf("You specified -b & --bip, mutually exclusive options. Please specify only one") //nolint:staticcheck // dockerd's words
	case c.Bridge != "" && c.BIP6.IsValid():
		return c, fmt.Errorf("You specified -b & --bip6, mutually exclusive options. Please specify only one") //nolint:staticcheck // dockerd's words
	case c.BIP.IsValid() && !c.BIP.Addr().Is4(), c.FixedCIDR.IsValid() && !c.FixedCIDR.Addr().Is4(), c.Gateway4.IsValid() && !c.Gateway4.Is4():
		return c, fmt.Errorf("--bip, --fixed-cidr and --default-gateway are for IPv4: IPv6 has --bip6, --fixed-cidr-v6 and --default-gateway-v6")
	case c.BIP6.IsValid() && !c.BIP6.Addr().Is6(), c.FixedCIDR6.IsValid() && !c.FixedCIDR6.Addr().Is6(), c.Gateway6.IsValid() && !c.Gateway6.Is6():
		return c, fmt.Errorf("--bip6, --fixed-cidr-v6 and --default-gateway-v6 are for IPv6: IPv4 has --bip, --fixed-cidr and --default-gateway")
	case clashes(c.FixedCIDR6):
		return c, fmt.Errorf("'%s' clashes with the Link-Local prefix 'fe80::/64'", c.FixedCIDR6)
	case !c.Firewall4 && !c.ICC:
		return c, fmt.Errorf("You specified --iptables=false with --icc=false. ICC=false uses iptables to function. Please set --icc or --iptables to true") //nolint:staticcheck // dockerd's words
	case c.IPv6 && !c.Firewall6 && !c.ICC:
		return c, fmt.Errorf("You specified --ip6tables=false with --icc=false. ICC=false uses ip6tables to function. Please set --icc or --ip6tables to true") //nolint:staticcheck // dockerd's words
	case !slices.Contains([]string{"any", "private", "localhost"}, c.PublishPolicy):
		return c, fmt.Errorf("invalid publish-policy: %q; choose any, private or localhost", c.PublishPolicy)
	case c.FirewallRespect != "none" && c.FirewallRespect != "host":
		return c, fmt.Errorf("invalid firewall-respect: %q; choose none or host", c.FirewallRespect)
	case c.MetricsAddr != "" && !hostPort(c.MetricsAddr):
		return c, fmt.Errorf("invalid metrics-addr: %q: want host:port", c.MetricsAddr)
	case c.MTU < 0:
		return c, fmt.Errorf("invalid MTU number: %d", c.MTU)
	}
	if err := logoptions.Check(c.LogDriver, c.LogOptions); err != nil {
		return c, err
	}
	c.Masquerade = c.Masquerade && c.Firewall4 // as with dockerd, for both families
	return c, nil
}

// clashes tells whether p holds some of the addresses that every interface has
// one of, yet is not the whole of them.
func clashes(p netip.Prefix) bool {
	link := model.LinkLocalSubnet()
	return p.IsValid() && p.Overlaps(link) && p.Masked() != link
}

// logLevel returns one of the levels that there are for one of dockerd's.
func logLevel(text string) (string, error) {
	switch level := strings.ToLower(text); level {
	case "debug", "info", "warn", "error":
		return level, nil
	case "trace":
		return "debug", nil
	case "fatal", "panic":
		return "error", nil
	case "":
		return "info", nil
	}
	return "", fmt.Errorf("invalid logging level: %s", text)
}
