package names

import (
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestLinkEnvironment(t *testing.T) {
	got := LinkEnvironment(Linked{
		Name: "/app/my-db", Alias: "my-db", Addr: addrs("172.17.0.2")[0],
		Ports: []model.OpenPorts{
			{Protocol: model.UDP, Ports: model.Port(80)},
			{Protocol: model.TCP, Ports: model.PortRange{First: 80, Last: 81}},
		},
		Env: []string{"HOME=/root", "PATH=/bin", "PASSWORD=a=b", "bare"},
	})
	want := strings.Fields(`MY_DB_PORT=tcp://172.17.0.2:80
		MY_DB_PORT_80_TCP_START=tcp://172.17.0.2:80 MY_DB_PORT_80_TCP_PORT_START=80
		MY_DB_PORT_81_TCP_END=tcp://172.17.0.2:81 MY_DB_PORT_80_TCP_PORT_END=81
		MY_DB_PORT_80_TCP=tcp://172.17.0.2:80 MY_DB_PORT_80_TCP_ADDR=172.17.0.2 MY_DB_PORT_80_TCP_PORT=80 MY_DB_PORT_80_TCP_PROTO=tcp
		MY_DB_PORT_81_TCP=tcp://172.17.0.2:81 MY_DB_PORT_81_TCP_ADDR=172.17.0.2 MY_DB_PORT_81_TCP_PORT=81 MY_DB_PORT_81_TCP_PROTO=tcp
		MY_DB_PORT_80_UDP=udp://172.17.0.2:80 MY_DB_PORT_80_UDP_ADDR=172.17.0.2 MY_DB_PORT_80_UDP_PORT=80 MY_DB_PORT_80_UDP_PROTO=udp
		MY_DB_NAME=/app/my-db MY_DB_ENV_PASSWORD=a=b`)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := LinkEnvironment(Linked{Name: "/app/x", Alias: "x"}); !slices.Equal(got, []string{"X_NAME=/app/x"}) {
		t.Errorf("without ports: %q", got)
	}
}
