package cli

import (
	"net/http"
	"net/url"
	"path/filepath"

	dockercli "github.com/docker/cli/cli"
	"github.com/spf13/cobra"
)

// volumeImport is the command that brings volumes over from Docker.
func volumeImport(socket *string) *cobra.Command {
	return &cobra.Command{
		Use: "import ROOT [VOLUME...]", Short: "Copy volumes from a Docker data root, with labels and options",
		Long: "Copy all local volumes, or those named, from the data root of a Docker daemon (/var/lib/docker) that does not run, with their\n" +
			"labels, options and data. A volume whose name is taken here stays as it is. What is in the data root is left as it is.",
		Args: dockercli.RequiresMinArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			v := verb{method: http.MethodPost, path: "/linkspan/v1/volumes/import?" + url.Values{"root": {root}, "name": args[1:]}.Encode(), patient: true}
			return v.run(cmd.Context(), *socket, nil, cmd.OutOrStdout())
		},
	}
}
