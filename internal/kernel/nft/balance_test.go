package nft

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/model"
)

// vip is a service's address of family f, member that of its i-th container.
func vip(f model.Family) netip.Addr { return member(f, 200) }
func member(f model.Family, i int) netip.Addr {
	if f == model.IPv4 {
		return netip.AddrFrom4([4]byte{10, 7, 0, byte(i)})
	}
	return netip.MustParseAddr(fmt.Sprintf("fd07::%d", i))
}

// service is a Balance over the containers of these numbers.
func service(f model.Family, backends ...int) desired.Balance {
	row := desired.Balance{To: desired.Frontend{Addr: vip(f)}, Salt: "here"}
	for _, i := range backends {
		row.Backends = append(row.Backends, netip.AddrPortFrom(member(f, i), 0))
	}
	return row
}

// atPort is the same at port 80, which leads to port 8000.
func atPort(f model.Family, backends ...int) desired.Balance {
	row := desired.Balance{To: desired.Frontend{Addr: member(f, 201), Protocol: model.TCP, Port: 80}}
	for _, i := range backends {
		row.Backends = append(row.Backends, netip.AddrPortFrom(member(f, i), 8000))
	}
	return row
}

// overlay is the namespace of a network with containers on it, each with a link of its own.
type overlay struct {
	*namespaces.Namespace
	Balancer
	boxes map[int]*namespaces.Namespace
}

func newOverlay(t *testing.T, boxes ...int) overlay {
	t.Helper()
	o := overlay{namespaces.New(t), Balancer{"test", slog.New(slog.DiscardHandler)}, map[int]*namespaces.Namespace{}}
	o.Sysctl("net/ipv4/ip_forward", "1")
	o.Sysctl("net/ipv6/conf/all/forwarding", "1")
	o.Sysctl("net/ipv4/conf/all/send_redirects", "0")
	for _, i := range boxes {
		box := namespaces.New(t)
		end := fmt.Sprintf("end%d", i)
		namespaces.Cable(namespaces.End{In: o.Namespace, Name: end, MAC: "02:00:00:00:00:01"}, namespaces.End{In: box, Name: "eth0", MAC: "02:00:00:00:00:02"})
		o.Address(end, "169.254.0.1/32", "fe80::1/64")
		o.Sysctl("net/ipv4/conf/"+end+"/rp_filter", "1")
		o.Sysctl("net/ipv4/conf/"+end+"/send_redirects", "0")
		box.Address("eth0", member(model.IPv4, i).String()+"/32", member(model.IPv6, i).String()+"/128")
		box.Run("ip", "route", "add", "default", "via", "169.254.0.1", "dev", "eth0", "onlink")
		box.Run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
		o.Run("ip", "route", "add", member(model.IPv4, i).String(), "dev", end)
		o.Run("ip", "-6", "route", "add", member(model.IPv6, i).String(), "dev", end)
		o.boxes[i] = box
	}
	// What is nowhere goes to other hosts.
	o.Bridge("vx", "02:00:00:00:00:03", "10.7.0.254/24", "fd07::fe/64")
	return o
}

// serve has a container tell whoever connects its number, and who they are.
func (o overlay) serve(t *testing.T, i int, port string) {
	t.Helper()
	for _, f := range model.Families {
		l := o.boxes[i].Listen(net.JoinHostPort(member(f, i).String(), port))
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				fmt.Fprintf(c, "%d to %s", i, host)
				c.Close()
			}
		}()
	}
}

func (o overlay) resync(t *testing.T, rows ...desired.Row) desired.Report {
	t.Helper()
	report, err := o.Resync(t.Context(), o.FD(), rows)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

const patience = 2 * time.Second

// ask returns who answers a container at an address, and under which address it is seen.
func (o overlay) ask(from int, to netip.Addr, port string) string {
	return o.boxes[from].Ask(net.JoinHostPort(to.String(), port), patience)
}

// TestBalanceReadsWell: what nft prints of the table, with frontends that have no backend.
func TestBalanceReadsWell(t *testing.T) {
	o := newOverlay(t)
	var rows []desired.Row
	for _, f := range model.Families {
		rows = append(rows, service(f), atPort(f), desired.Hairpin{Addr: member(f, 2)})
	}
	o.resync(t, rows...)
	golden(t, "balance.nft", o.NFT("list", "table", "inet", balanceTableName))
}

// TestServicesAreBalanced: by both families, an address and a port of one, from a container
// beside and from a backend itself, with the client's own address.
func TestServicesAreBalanced(t *testing.T) {
	o := newOverlay(t, 1, 2, 3)
	var rows []desired.Row
	for _, f := range model.Families {
		rows = append(rows, service(f, 2, 3), atPort(f, 2, 3), desired.Hairpin{Addr: member(f, 2)}, desired.Hairpin{Addr: member(f, 3)})
	}
	for _, i := range []int{2, 3} {
		o.serve(t, i, "80")
		o.serve(t, i, "8000")
	}
	o.resync(t, rows...)
	if again := o.resync(t, rows...); again.Writes != 0 || len(again.Drift) > 0 {
		t.Errorf("again: %+v", again)
	}
	for _, f := range model.Families {
		for _, to := range []netip.Addr{vip(f), member(f, 201)} {
			answers := map[string]int{}
			for range 64 {
				answers[o.ask(1, to, "80")]++
			}
			for _, i := range []int{2, 3} {
				if n := answers[fmt.Sprintf("%d to %s", i, member(f, 1))]; n != 32 {
					t.Errorf("%s: of 64 connections %d got %d times: %v", to, i, n, answers)
				}
			}
			for range 8 {
				switch got := o.ask(2, to, "80"); got {
				case fmt.Sprintf("2 to %s", to), fmt.Sprintf("3 to %s", member(f, 2)):
				default:
					t.Errorf("%s from a backend: %q", to, got)
				}
			}
		}
	}
	if out := o.boxes[1].Run("ping", "-c", "1", "-W", "2", vip(model.IPv4).String()); !strings.Contains(out, " 0% packet loss") {
		t.Error(out)
	}
}

// TestSticky: whoever comes to a port that is sticky comes to the same backend again, different clients to different ones;
// and what another network's host makes of the same backends leads them alike.
func TestSticky(t *testing.T) {
	clients := []int{1, 4, 5, 6, 7, 8, 9, 10}
	o := newOverlay(t, append([]int{2, 3}, clients...)...)
	var rows []desired.Row
	for _, f := range model.Families {
		row := atPort(f, 2, 3)
		row.Sticky = true
		rows = append(rows, row)
	}
	for _, i := range []int{2, 3} {
		o.serve(t, i, "8000")
	}
	o.resync(t, rows...)
	if again := o.resync(t, rows...); again.Writes != 0 || len(again.Drift) > 0 {
		t.Errorf("again: %+v", again)
	}
	for _, f := range model.Families {
		seen := map[string]bool{}
		for _, client := range clients {
			first := o.ask(client, member(f, 201), "80")
			for range 8 {
				if got := o.ask(client, member(f, 201), "80"); got != first {
					t.Errorf("%v: %d was led to %q, and then to %q", f, client, first, got)
				}
			}
			seen[strings.Fields(first + " nobody")[0]] = true
		}
		if len(seen) != 2 || !seen["2"] || !seen["3"] {
			t.Errorf("%v: %d clients were led to %v", f, len(clients), seen)
		}
	}
	for _, f := range model.Families {
		o.resync(t, atPort(f, 2, 3))
	}
	if left := o.NFT("list", "set", "inet", balanceTableName, setSticky4); strings.Contains(left, "elements") {
		t.Errorf("no longer sticky:\n%s", left)
	}
}

// TestServiceWithoutBackend refuses at once, both what is connected and what is not.
func TestServiceWithoutBackend(t *testing.T) {
	o := newOverlay(t, 1)
	for _, f := range model.Families {
		o.resync(t, service(f), atPort(f))
		for _, network := range []string{"tcp", "udp"} {
			for _, to := range []netip.Addr{vip(f), member(f, 201)} {
				if to != vip(f) && network == "udp" {
					continue // that is another port's
				}
				var err error
				o.boxes[1].Do(func() error { err = refused(network, net.JoinHostPort(to.String(), "80")); return nil })
				if !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%s to %s: %v", network, to, err)
				}
			}
		}
	}
}

// refused sends a word and waits for what becomes of it.
func refused(network, address string) error {
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// TestDrain: a connection that there is outlives its backend's share.
func TestDrain(t *testing.T) {
	o := newOverlay(t, 1, 2)
	const f = model.IPv4
	before := service(f, 2)
	o.resync(t, before)
	l := o.boxes[2].Listen(net.JoinHostPort(member(f, 2).String(), "80"))
	defer l.Close()
	var client net.Conn
	o.boxes[1].Do(func() (err error) {
		client, err = net.DialTimeout("tcp", net.JoinHostPort(vip(f).String(), "80"), patience)
		return err
	})
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	after := service(f)
	after.Draining = before.Backends
	if err := o.Apply(t.Context(), o.FD(), []desired.Delta{{Old: before, New: after}}); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
		if _, err := from.Write([]byte("on")); err != nil {
			t.Fatal(err)
		}
		heard := make([]byte, 2)
		if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Read(heard); err != nil || string(heard) != "on" {
			t.Errorf("%q, %v", heard, err)
		}
	}
	o.boxes[1].Do(func() error { err = refused("tcp", net.JoinHostPort(vip(f).String(), "80")); return nil })
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
}

// TestBalancerRepairs: whatever somebody removes, and one table that nobody wants any more.
func TestBalancerRepairs(t *testing.T) {
	o := newOverlay(t)
	rows := []desired.Row{service(model.IPv4, 2, 3), service(model.IPv6, 2), desired.Hairpin{Addr: member(model.IPv4, 2)}}
	if report := o.resync(t); report.Writes > 0 {
		t.Errorf("for nobody: %+v", report)
	}
	o.resync(t, rows...)
	for _, harm := range [][]string{
		{"flush", "ruleset"},
		{"flush", "map", "inet", balanceTableName, setFewVIPs4},
		{"flush", "chain", "inet", balanceTableName, "prerouting"},
		{"add", "element", "inet", balanceTableName, setVIPs4, "{ 10.7.0.99 }"},
	} {
		o.NFT(harm...)
		if seen, err := o.Check(t.Context(), o.FD(), rows); err != nil || len(seen.Drift) == 0 {
			t.Errorf("%v: %+v, %v", harm, seen, err)
		}
		o.resync(t, rows...)
		if left, err := o.Check(t.Context(), o.FD(), rows); err != nil || len(left.Drift) > 0 {
			t.Errorf("%v: still %+v, %v", harm, left, err)
		}
	}
	o.NFT("flush", "ruleset")
	err := o.Apply(t.Context(), o.FD(), []desired.Delta{{Old: rows[0], New: service(model.IPv4, 2)}})
	if !errors.Is(err, desired.ErrLost) {
		t.Errorf("applied where the table was lost: %v", err)
	}
	o.resync(t)
	if left := o.NFT("list", "table", "inet", balanceTableName); strings.Contains(left, "10.7.0.") {
		t.Error(left)
	}
}

// TestChangeIsSmall: of a service's buckets those of the backend that goes are written, and
// few more.
func TestChangeIsSmall(t *testing.T) {
	idx := indexOf([]table{balanceTable("")})
	old, now := service(model.IPv4, 1, 2, 3, 4, 5, 6, 7, 8), service(model.IPv4, 1, 2, 3, 4, 5, 6, 7)
	changes, failures := idx.changesOf([]desired.Delta{{Old: old, New: now}}, newMembership())
	if len(failures) > 0 || len(changes) == 0 || len(changes) > 2*64/3 {
		t.Errorf("%d changes, %v", len(changes), failures)
	}
}

func TestBalancesThatCannotBe(t *testing.T) {
	for what, change := range map[string]func(*desired.Balance){
		"no address":         func(r *desired.Balance) { r.To.Addr = netip.Addr{} },
		"a port alone":       func(r *desired.Balance) { r.To.Protocol = "" },
		"a protocol alone":   func(r *desired.Balance) { r.To.Port = 0 },
		"sticky, no port":    func(r *desired.Balance) { r.Sticky, r.To.Protocol, r.To.Port = true, "", 0 },
		"no protocol":        func(r *desired.Balance) { r.To.Protocol = "gre" },
		"families":           func(r *desired.Balance) { r.Backends[0] = netip.MustParseAddrPort("[fd07::1]:80") },
		"backend, no port":   func(r *desired.Balance) { r.Backends[0] = netip.MustParseAddrPort("10.7.0.1:0") },
		"backend, no addres": func(r *desired.Balance) { r.Backends[0] = netip.AddrPort{} },
	} {
		row := atPort(model.IPv4, 1, 2)
		if _, err := render(row); err != nil {
			t.Fatal(err)
		}
		change(&row)
		if elements, err := render(row); model.KindOf(err) != model.Invalid {
			t.Errorf("%s: %v, %v", what, elements, err)
		}
	}
	if _, err := render(desired.Hairpin{}); model.KindOf(err) != model.Invalid {
		t.Error(err)
	}
}
