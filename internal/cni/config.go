package cni

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"github.com/linkspan/linkspan/internal/privateapi"
)

// config is the plugin's part of a network configuration, as a runtime gives it.
type config struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	// Network is the network of ours; the configuration's name if it is not said.
	Network string `json:"network"`
	// Socket is the daemon's private socket.
	Socket  string   `json:"socket"`
	Aliases []string `json:"aliases"`
	// Priority among the networks of a namespace: the highest leads out (--gw-priority).
	Priority int             `json:"priority"`
	IPAM     json.RawMessage `json:"ipam"`
	DNS      types.DNS       `json:"dns"`
	Runtime  runtimeConfig   `json:"runtimeConfig"`
	Args     struct {
		CNI struct {
			IPs []string `json:"ips"`
			MAC string   `json:"mac"`
		} `json:"cni"`
	} `json:"args"`
	PrevResult       json.RawMessage      `json:"prevResult"`
	ValidAttachments []types.GCAttachment `json:"cni.dev/valid-attachments"`
}

// runtimeConfig is what the runtime adds for one container, where the configuration
// declares the capability.
type runtimeConfig struct {
	PortMappings []portMapping   `json:"portMappings"`
	Bandwidth    json.RawMessage `json:"bandwidth"`
	IPRanges     json.RawMessage `json:"ipRanges"`
	IPs          []string        `json:"ips"`
	MAC          string          `json:"mac"`
	// Aliases are a list, or of Podman lists by the names of networks.
	Aliases json.RawMessage `json:"aliases"`
	DNS     struct {
		Servers  []string `json:"servers"`
		Searches []string `json:"searches"`
		Options  []string `json:"options"`
	} `json:"dns"`
}

// portMapping is one of CNI's conventions.
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

// spoken is the version to answer in.
func (c config) spoken() string {
	if supported(c.CNIVersion) {
		return c.CNIVersion
	}
	return latest
}

func (c config) network() string { return cmp.Or(c.Network, c.Name) }

func (c config) socket(getenv func(string) string) string {
	return cmp.Or(c.Socket, getenv("LINKSPAN_SOCKET"), privateapi.DefaultSocket)
}

// parseConfig reads and checks a network configuration.
func parseConfig(raw []byte) (config, error) {
	var c config
	if err := checkDepth(raw); err != nil {
		return c, types.NewError(types.ErrDecodingFailure, "the network configuration cannot be read", err.Error())
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, types.NewError(types.ErrDecodingFailure, "the network configuration cannot be read", err.Error())
	}
	if !supported(c.CNIVersion) {
		return c, types.NewError(types.ErrIncompatibleCNIVersion, "incompatible CNI versions",
			fmt.Sprintf("config is %q, plugin supports %q", c.CNIVersion, versions))
	}
	if c.Name == "" {
		return c, badConfig("missing network name")
	}
	if err := utils.ValidateNetworkName(c.Name); err != nil {
		return c, badConfig(err.Error())
	}
	return c, c.refuse()
}

// checkDepth refuses what stands in itself too deep to be meant.
func checkDepth(raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	depth := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth {
			return fmt.Errorf("it is nested deeper than %d", maxDepth)
		}
	}
}

func badConfig(text string) *types.Error {
	return types.NewError(types.ErrInvalidNetworkConfig, "invalid network configuration", text)
}

// unsupported refuses a field, with its value, as the specification has it.
func unsupported(key string, value []byte, way string) error {
	return types.NewError(types.ErrUnsupportedField, fmt.Sprintf("unsupported field %s: %s", key, bytes.TrimSpace(value)), way)
}

func given(raw json.RawMessage) bool {
	return !slices.Contains([]string{"", "null", "{}", "[]"}, string(bytes.TrimSpace(raw)))
}

// refuse says what a configuration asks for that the plugin does not do.
func (c config) refuse() error {
	if given(c.Runtime.Bandwidth) {
		return unsupported("runtimeConfig.bandwidth", c.Runtime.Bandwidth,
			`linkspan shapes no traffic: take the capability "bandwidth" off, or put the plugin "bandwidth" behind this one, which does`)
	}
	if given(c.Runtime.IPRanges) {
		return unsupported("runtimeConfig.ipRanges", c.Runtime.IPRanges, "addresses come from the subnets of the network (docker network create --subnet, --ip-range)")
	}
	var ipam struct {
		Type string `json:"type"`
	}
	if given(c.IPAM) {
		if err := json.Unmarshal(c.IPAM, &ipam); err != nil {
			return badConfig("ipam: " + err.Error())
		}
	}
	if ipam.Type != "" {
		return unsupported("ipam.type", []byte(ipam.Type), "the network has addresses of its own: leave ipam out")
	}
	return nil
}

// request translates what ADD asks for.
func (r request) attach() (privateapi.Request, error) {
	out := privateapi.Request{
		Namespace: r.namespace, Network: r.network(), Door: "cni", Config: r.Name, Container: r.container,
		Name: r.container, Interface: r.ifname, Priority: r.Priority,
		MAC: cmp.Or(r.Runtime.MAC, r.Args.CNI.MAC, r.args["MAC"]),
	}
	if pod := r.args["K8S_POD_NAME"]; pod != "" {
		out.Name = pod
	}
	const short = 12
	if len(r.container) > short && strings.Trim(r.container, "0123456789abcdef") == "" {
		out.Hostname = r.container[:short] // what runtimes call such a container themselves
	}
	var err error
	if out.Addresses, err = r.addresses(); err != nil {
		return out, err
	}
	if out.Aliases, err = r.aliases(); err != nil {
		return out, err
	}
	for _, m := range r.Runtime.PortMappings {
		if m.ContainerPort < 1 || m.ContainerPort > 65535 || m.HostPort < 0 || m.HostPort > 65535 {
			return out, badConfig(fmt.Sprintf("runtimeConfig.portMappings: invalid port: hostPort %d, containerPort %d", m.HostPort, m.ContainerPort))
		}
		out.Publish = append(out.Publish, privateapi.Port{Host: m.HostIP, HostPort: uint16(m.HostPort), ContainerPort: uint16(m.ContainerPort), Protocol: m.Protocol})
	}
	return out, nil
}

// addresses returns those asked for, by whichever convention.
func (r request) addresses() ([]netip.Addr, error) {
	texts := slices.Concat(r.Runtime.IPs, r.Args.CNI.IPs)
	if ip := r.args["IP"]; ip != "" && len(texts) == 0 {
		texts = strings.Split(ip, ",")
	}
	var out []netip.Addr
	for _, text := range texts {
		bare, _, _ := strings.Cut(text, "/")
		a, err := netip.ParseAddr(strings.TrimSpace(bare))
		if err != nil || a.Zone() != "" {
			return nil, badConfig(fmt.Sprintf("invalid IP address %q", text))
		}
		if !slices.Contains(out, a.Unmap()) {
			out = append(out, a.Unmap())
		}
	}
	return out, nil
}

// aliases returns further names: of the configuration, and of the runtime.
func (r request) aliases() ([]string, error) {
	out := slices.Clone(r.Aliases)
	if !given(r.Runtime.Aliases) {
		return out, nil
	}
	var list []string
	if json.Unmarshal(r.Runtime.Aliases, &list) == nil {
		return append(out, list...), nil
	}
	var byNetwork map[string][]string
	if err := json.Unmarshal(r.Runtime.Aliases, &byNetwork); err != nil {
		return nil, badConfig("runtimeConfig.aliases: it is neither a list of names nor lists by network")
	}
	return append(out, byNetwork[r.Name]...), nil
}
