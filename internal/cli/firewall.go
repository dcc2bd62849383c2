package cli

import (
	"net/http"
	"net/url"

	dockercli "github.com/docker/cli/cli"
	"github.com/spf13/cobra"
)

// firewall is the commands that show what the firewall does.
func firewall(socket *string) *cobra.Command {
	parent := &cobra.Command{
		Use: "firewall", Short: "See what the firewall does, and why", Args: dockercli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.AddCommand(firewallShow(socket), firewallExplain(socket))
	return parent
}

func firewallShow(socket *string) *cobra.Command {
	json, out := false, format{}
	c := &cobra.Command{
		Use: "show [OPTIONS]", Short: "Show the firewall's rules in words, by the network or container that asked for them", Args: dockercli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return firewallVerb("/linkspan/v1/firewall", url.Values{}, json).formatted(cmd.Context(), *socket, nil, out, cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&json, "json", false, "Format output as JSON")
	out.add(c)
	return c
}

func firewallExplain(socket *string) *cobra.Command {
	from, to, json, out := "", "", false, format{}
	c := &cobra.Command{
		Use: "explain [OPTIONS] PORT|CONTAINER[:PORT]|ADDRESS[:PORT]", Short: "Follow a packet through all rules of the host, and say which one decides",
		Long: "Follow the first packet of a connection through all rules of the host, ours and others', to a port of the host (8080, 53/udp)\n" +
			"to a container at its own address (web, web:80, web:53/udp), or to any address (192.0.2.1:80), and say what becomes of it, by which rule and whose.",
		Args: dockercli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"target": args, "from": {from}, "to": {to}}
			return firewallVerb("/linkspan/v1/firewall/explain", query, json).formatted(cmd.Context(), *socket, nil, out, cmd.OutOrStdout())
		},
	}
	c.Flags().StringVar(&from, "from", "", `Who sends: an address, "localhost" or a container (default another machine)`)
	c.Flags().StringVar(&to, "to", "", "Address of the host that the port is asked for at (default one where it is published)")
	c.Flags().BoolVar(&json, "json", false, "Format output as JSON")
	out.add(c)
	return c
}

// firewallVerb is a question about the firewall; json is the older way to ask for JSON.
func firewallVerb(path string, query url.Values, json bool) verb {
	v := verb{method: http.MethodGet, path: path + "?" + query.Encode(), jsonOnly: true}
	query.Set("format", "json")
	v.jsonPath = path + "?" + query.Encode()
	if json {
		v.path = v.jsonPath
	}
	return v
}
