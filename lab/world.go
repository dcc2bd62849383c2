package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// World is the outside: the hosts' default gateway, with an address beyond it, and the DNS server they are told of.
// It forwards nothing, so no packet of the lab can reach a real network.
type World struct {
	*Machine
	Beyond4 netip.Addr // an address that hosts reach only through their default gateway
	Beyond6 netip.Addr

	dns *exec.Cmd // once it is started
}

// buildWorld starts world and its DNS server.
func (l *Lab) buildWorld(ctx context.Context) error {
	w := &World{
		Machine: &Machine{Name: "world", Addr4: netip.MustParseAddr(worldAddr4), Addr6: netip.MustParseAddr(worldAddr6)},
		Beyond4: netip.MustParseAddr(beyondAddr4),
		Beyond6: netip.MustParseAddr(beyondAddr6),
	}
	l.world = w
	resolv := fmt.Sprintf("nameserver %s\n", worldAddr4)
	if err := l.newMachine(w.Machine, map[string]string{"hosts": hostsFile(w.Machine), "resolv.conf": resolv}); err != nil {
		return err
	}
	if err := l.plug(ctx, w.Machine); err != nil {
		return err
	}
	err := w.ip(ctx,
		fmt.Sprintf("address add %s/32 dev lo", beyondAddr4),
		fmt.Sprintf("address add %s/128 dev lo nodad", beyondAddr6))
	if err != nil {
		return err
	}
	return w.serveDNS(ctx)
}

// serveDNS starts dnsmasq: it knows world.example.test (A, AAAA, PTR) and text.example.test (TXT), and says NXDOMAIN
// to everything else without asking anybody. It ends with world.
func (w *World) serveDNS(ctx context.Context) error {
	dns := w.Command(context.WithoutCancel(ctx), "dnsmasq",
		"--keep-in-foreground", "--user=root", "--pid-file=", "--conf-file=/dev/null",
		"--no-hosts", "--no-resolv", "--bind-interfaces",
		"--listen-address="+worldAddr4, "--listen-address="+worldAddr6,
		"--host-record="+strings.Join([]string{worldName, beyondAddr4, beyondAddr6}, ","),
		"--txt-record=text.example.test,hello",
		"--local=/#/", "--log-queries", "--log-facility="+w.file("dns.log"))
	if err := dns.Start(); err != nil {
		return fmt.Errorf("world's DNS server (dnsmasq-base): %w", err)
	}
	w.dns = dns
	err := Until(ctx, 5*time.Second, func() error {
		if log := w.DNSLog(); !strings.Contains(log, "started") { // it says so once its sockets are bound
			return errors.New(log)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("world's DNS server: %w", err)
	}
	return nil
}

// DNSLog is what world's DNS server has written: one line per query and answer.
func (w *World) DNSLog() string {
	text, err := os.ReadFile(w.file("dns.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
