package system

import (
	"strings"

	"github.com/moby/moby/api/types/system"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ociruntimes"
)

// runtimes returns the OCI runtimes that containers may have.
func runtimes(known ociruntimes.Set) map[string]system.RuntimeWithStatus {
	out := map[string]system.RuntimeWithStatus{}
	for _, stock := range []string{ociruntimes.Standard, ociruntimes.Shim} {
		out[stock] = system.RuntimeWithStatus{Runtime: system.Runtime{Path: ociruntimes.Standard}}
	}
	for name, d := range known.Defined {
		out[name] = system.RuntimeWithStatus{Runtime: system.Runtime{Path: d.Path, Args: d.Args, Type: d.Type}}
	}
	return out
}

// openHosts warns of every place where whoever comes is the machine's master, in Docker's words.
func openHosts(hosts []string) []string {
	const warning = `.
         Access to the remote API is equivalent to root access on the host. Refer
         to the 'Docker daemon attack surface' section in the documentation for
         more information: https://docs.docker.com/go/attack-surface/
In future versions this will be a hard failure preventing the daemon from starting! Learn more at: https://docs.docker.com/go/api-security/`
	out := []string{}
	for _, host := range hosts {
		lacks := " without encryption"
		if strings.HasPrefix(host, "https://") {
			lacks = " without TLS client verification"
		}
		out = append(out, "[DEPRECATION NOTICE]: API is accessible on "+host+lacks+warning)
	}
	return out
}

// missing says what the machine cannot do, in Docker's words.
func missing(host facts.Machine, info system.Info) []string {
	if host.CgroupVersion == "" {
		return nil // nobody looked
	}
	v1 := host.CgroupVersion == "1"
	var out []string
	for _, can := range []struct {
		yes  bool
		what string
	}{
		{info.MemoryLimit, "No memory limit support"}, {info.SwapLimit, "No swap limit support"}, {info.OomKillDisable || !v1, "No oom kill disable support"},
		{info.CPUCfsQuota, "No cpu cfs quota support"}, {info.CPUCfsPeriod, "No cpu cfs period support"}, {info.CPUShares, "No cpu shares support"},
		{info.CPUSet, "No cpuset support"},
		{host.BlockControl.ReadBytes, choose(v1, "No blkio throttle.read_bps_device support", "No io.max (rbps) support")},
		{host.BlockControl.WriteBytes, choose(v1, "No blkio throttle.write_bps_device support", "No io.max (wbps) support")},
		{host.BlockControl.ReadTimes, choose(v1, "No blkio throttle.read_iops_device support", "No io.max (riops) support")},
		{host.BlockControl.WriteTimes, choose(v1, "No blkio throttle.write_iops_device support", "No io.max (wiops) support")},
		{!v1, "Support for cgroup v1 is deprecated and planned to be removed by no later than May 2029 (https://github.com/moby/moby/issues/51111)"},
		{info.IPv4Forwarding, "IPv4 forwarding is disabled"},
	} {
		if !can.yes {
			out = append(out, "WARNING: "+can.what)
		}
	}
	return out
}

func choose(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
