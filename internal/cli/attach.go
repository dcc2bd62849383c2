package cli

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	dockercli "github.com/docker/cli/cli"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// namespacePath returns the path of a network namespace that is named by the number of a
// process in it or by its path; a name alone is one that ip-netns(8) knows.
func namespacePath(term string) (string, error) {
	if pid, err := strconv.ParseUint(term, 10, 31); err == nil && pid > 0 {
		return fmt.Sprintf("/proc/%d/ns/net", pid), nil
	}
	if !strings.Contains(term, "/") {
		return filepath.Join(model.NetnsDir, term), nil
	}
	return filepath.Abs(term)
}

// attachFlags are the options of `linkspan attach PID|PATH NETWORK`.
type attachFlags struct {
	name, ifname, mac string
	ip, ip6           string
	aliases, publish  []string
}

// withGuests gives docker's attach a second form, for what is no container, and adds
// detach: CONTAINER alone is docker's.
func withGuests(root *cobra.Command, socket *string) {
	attachGuest(dockers(root, "attach"), socket)
	root.AddCommand(&cobra.Command{
		Use: "detach PID|PATH NETWORK", Short: "Take a network namespace that is no container's off a network", Args: dockercli.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := namespacePath(args[0])
			if err != nil {
				return err
			}
			ref := privateapi.Ref{Door: model.DoorAttach, Namespace: path, Network: args[1]}
			client := privateapi.Client{Socket: *socket}
			found, err := client.List(cmd.Context(), ref)
			if err == nil && len(found) == 0 {
				err = fmt.Errorf("%s is not attached to network %s", path, args[1])
			}
			if err == nil {
				err = client.Detach(cmd.Context(), ref)
			}
			return failed(err)
		},
	})
}

// failed gives an error of ours its status.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return dockercli.StatusError{Cause: fmt.Errorf("linkspan: %w", err), StatusCode: statusFailed}
}

//docker:added attach --alias, attach --ifname, attach --ip, attach --ip6, attach --mac-address, attach --name, attach --publish: of namespaces that are no containers', which `attach` with a network takes
func attachGuest(c *cobra.Command, socket *string) {
	containers := c.RunE
	var f attachFlags
	flags := c.Flags()
	flags.StringVar(&f.name, "name", "", "With PID|PATH NETWORK: name on the network")
	flags.StringVar(&f.ifname, "ifname", "", "With PID|PATH NETWORK: name of the interface inside")
	flags.StringVar(&f.mac, "mac-address", "", "With PID|PATH NETWORK: MAC address")
	flags.StringVar(&f.ip, "ip", "", "With PID|PATH NETWORK: IPv4 address")
	flags.StringVar(&f.ip6, "ip6", "", "With PID|PATH NETWORK: IPv6 address")
	flags.StringArrayVar(&f.aliases, "alias", nil, "With PID|PATH NETWORK: a further name on the network")
	flags.StringArrayVar(&f.publish, "publish", nil, "With PID|PATH NETWORK: a port of the host that leads there: [[IP:]HOSTPORT:]PORT[/PROTOCOL]")
	c.Use = "attach [OPTIONS] CONTAINER, or PID|PATH NETWORK"
	c.Args = cobra.RangeArgs(1, 2)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return containers(cmd, args)
		}
		request, err := f.request(args[0], args[1])
		if err != nil {
			return failed(err)
		}
		got, err := privateapi.Client{Socket: *socket}.Attach(cmd.Context(), request)
		if err != nil {
			return failed(err)
		}
		for _, a := range got.Addresses {
			fmt.Fprintln(cmd.OutOrStdout(), got.Interface, a.Address)
		}
		return nil
	}
}

func (f attachFlags) request(namespace, network string) (privateapi.Request, error) {
	path, err := namespacePath(namespace)
	r := privateapi.Request{
		Namespace: path, Network: network, Door: model.DoorAttach, Name: f.name, Interface: f.ifname, MAC: f.mac, Aliases: f.aliases,
	}
	for _, text := range []string{f.ip, f.ip6} {
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return r, fmt.Errorf("invalid IP address: %s", text)
		}
		r.Addresses = append(r.Addresses, a)
	}
	for _, text := range f.publish {
		p, err := parsePort(text)
		if err != nil {
			return r, err
		}
		r.Publish = append(r.Publish, p)
	}
	return r, err
}

// parsePort reads [[IP:]HOSTPORT:]PORT[/PROTOCOL].
func parsePort(text string) (privateapi.Port, error) {
	invalid := fmt.Errorf("invalid port: %q: write [[IP:]HOSTPORT:]PORT[/PROTOCOL]", text)
	rest, protocol, _ := strings.Cut(text, "/")
	p := privateapi.Port{Protocol: protocol}
	host, inside := "", rest
	if i := strings.LastIndex(rest, ":"); i >= 0 {
		host, inside = rest[:i], rest[i+1:]
	}
	number, err := strconv.ParseUint(inside, 10, 16)
	if err != nil || number == 0 {
		return p, invalid
	}
	p.ContainerPort = uint16(number)
	if i := strings.LastIndex(host, ":"); i >= 0 {
		p.Host, host = strings.Trim(host[:i], "[]"), host[i+1:]
	}
	if host == "" {
		return p, nil
	}
	if number, err = strconv.ParseUint(host, 10, 16); err != nil {
		return p, invalid
	}
	p.HostPort = uint16(number)
	return p, nil
}
