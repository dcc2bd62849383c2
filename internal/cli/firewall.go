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
	json := false
	c := &cobra.Command{
		Use: "show [OPTIONS]", Short: "Show the firewall's rules in words, by the network or container that asked for them", Args: dockercli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := verb{method: http.MethodGet, path: "/linkspan/v1/firewall?" + formatted(url.Values{}, json)}
			return v.run(cmd.Context(), *socket, nil, cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&json, "json", false, "Format output as JSON")
	return c
}

func firewallExplain(socket *string) *cobra.Command {
	from, to, json := "", "", false
	c := &cobra.Command{
		Use: "explain [OPTIONS] PORT|CONTAINER[:PORT]|ADDRESS[:PORT]", Short: "Follow a packet through all rules of the host, and say which one decides",
		Long: "Follow the first packet of a connection through all rules of the host, ours and others', to a port of the host (8080, 53/udp)\n" +
			"to a container at its own address (web, web:80, web:53/udp), or to any address (192.0.2.1:80), and say what becomes of it, by which rule and whose.",
		Args: dockercli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := verb{method: http.MethodGet, path: "/linkspan/v1/firewall/explain?" + formatted(url.Values{"target": args, "from": {from}, "to": {to}}, json)}
			return v.run(cmd.Context(), *socket, nil, cmd.OutOrStdout())
		},
	}
	c.Flags().StringVar(&from, "from", "", `Who sends: an address, "localhost" or a container (default another machine)`)
	c.Flags().StringVar(&to, "to", "", "Address of the host that the port is asked for at (default one where it is published)")
	c.Flags().BoolVar(&json, "json", false, "Format output as JSON")
	return c
}

// formatted is a query with the wanted format.
func formatted(query url.Values, json bool) string {
	if json {
		query.Set("format", "json")
	}
	return query.Encode()
}
