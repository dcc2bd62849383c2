package buildkitd

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

const (
	// remoteSession is the context of a client with a session, remoteUpload one that comes
	// by a second request, as the docker command of 18.09 had it.
	remoteSession = "client-session"
	remoteUpload  = "upload-request"
	// outputNothing keeps the result in the cache alone.
	outputNothing = "cacheonly"
	hostGateway   = "host-gateway"
	// argHostname is the argument by which the Dockerfile's frontend is told how the hosts of steps are called.
	argHostname = "BUILDKIT_SANDBOX_HOSTNAME"
)

// solveRequest returns what the solver is asked for by a build with this context, of which
// the URL may be empty.
func solveRequest(b wire.Build, context string, gateways []string) (*controlapi.SolveRequest, error) {
	attrs, err := frontendAttrs(b, context, gateways)
	if err != nil {
		return nil, err
	}
	out, err := outputOf(b)
	if err != nil {
		return nil, err
	}
	r := &controlapi.SolveRequest{Frontend: "dockerfile.v0", FrontendAttrs: attrs, Session: b.Session, Cache: &controlapi.CacheOptions{}}
	if out != nil {
		r.Exporters = []*controlapi.Exporter{out}
	}
	if inline, err := strconv.ParseBool(b.Args["BUILDKIT_INLINE_CACHE"]); err == nil && inline {
		r.Cache.Exports = []*controlapi.CacheOptionsEntry{{Type: "inline"}}
	}
	if b.Network == "host" {
		r.Entitlements = []string{string(entitlements.EntitlementNetworkHost)}
	}
	return r, nil
}

// outputOf says where the result goes; nil is nowhere.
func outputOf(b wire.Build) (*controlapi.Exporter, error) {
	out := &controlapi.Exporter{Type: exporterMoby, Attrs: map[string]string{}}
	switch {
	case len(b.Outputs) > 1:
		return nil, fmt.Errorf("multiple outputs not supported")
	case len(b.Outputs) == 1 && b.Outputs[0].Type == outputNothing:
		return nil, nil
	case len(b.Outputs) == 1:
		out.Type = b.Outputs[0].Type
		for key, value := range b.Outputs[0].Attrs {
			out.Attrs[key] = value
		}
	}
	if (out.Type == exporterMoby || out.Type == client.ExporterImage) && len(b.Tags) > 0 {
		names, err := wholeNames(b.Tags)
		if err != nil {
			return nil, err
		}
		out.Attrs["name"] = strings.Join(names, ",")
	}
	return out, nil
}

// frontendAttrs are what the Dockerfile's frontend is told.
func frontendAttrs(b wire.Build, context string, gateways []string) (map[string]string, error) {
	out := map[string]string{"image-resolve-mode": pb.AttrImageResolveModePreferLocal}
	if b.Pull {
		out["image-resolve-mode"] = pb.AttrImageResolveModeForcePull
	}
	if b.NoCache {
		out["no-cache"] = ""
	}
	own := ownNetwork(b.Network)
	switch {
	case own != "" && b.Trace:
		return nil, fmt.Errorf("network mode %q not supported by buildkit\nA build without BuildKit's progress can have it: DOCKER_BUILDKIT=0 docker build --network %s", own, own)
	case own != "":
		out["hostname"] = hostnameOn(own)
	case b.Network == "host", b.Network == "none":
		out["force-network-mode"] = b.Network
	}
	hosts, err := extraHosts(b.Hosts, gateways)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"context": context, "target": b.Target, "platform": b.Platform, "add-hosts": strings.Join(hosts, ","), "ulimit": strings.Join(b.Ulimits, ","),
		"cgroup-parent": b.CgroupParent, "cpusetcpus": b.CPUs, "cpusetmems": b.MemoryNodes, "cache-from": strings.Join(b.CacheFrom, ","),
		"shm-size": number(b.ShmSize), "memory": number(b.Memory), "memswap": number(b.MemorySwap),
		"cpushares": number(b.CPUShares), "cpuperiod": number(b.CPUPeriod), "cpuquota": number(b.CPUQuota),
	} {
		if value != "" {
			out[name] = value
		}
	}
	if b.Dockerfile != "" && b.Dockerfile != "." {
		out["filename"] = b.Dockerfile
	}
	for name, value := range b.Args {
		if own != "" && name == argHostname {
			continue // the hostname says which network it is
		}
		out["build-arg:"+name] = value
	}
	for name, value := range b.Labels {
		out["label:"+name] = value
	}
	return out, nil
}

// number writes a limit; none is empty.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// extraHosts translates "name:address" into BuildKit's "name=address".
func extraHosts(hosts, gateways []string) ([]string, error) {
	var out []string
	for _, h := range hosts {
		name, address, ok := strings.Cut(h, ":")
		switch {
		case !ok || name == "" || address == "":
			return nil, fmt.Errorf("invalid host %s", h)
		case address != hostGateway:
			out = append(out, name+"="+address)
		case len(gateways) == 0:
			return nil, fmt.Errorf("unable to derive the IP value for host-gateway")
		default:
			for _, a := range gateways {
				out = append(out, name+"="+a)
			}
		}
	}
	return out, nil
}

// parseBuild reads the options of a request.
func parseBuild(text string) (b wire.Build, err error) {
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return b, fmt.Errorf("options of the build: %w", err)
	}
	if strings.HasPrefix(b.Remote, remoteUpload) {
		return b, fmt.Errorf("the context of a build cannot come by another request: use a newer docker command")
	}
	return b, nil
}
