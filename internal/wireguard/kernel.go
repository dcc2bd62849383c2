package wireguard

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/linkspan/linkspan/internal/desired"
)

// kernelDevice is an interface of the kernel's own WireGuard, which goes on without us.
type kernelDevice struct {
	client *wgctrl.Client
	name   string
	public wgtypes.Key
	port   int
	// said is where peers were said to be: the kernel tells where they are.
	said map[wgtypes.Key]netip.AddrPort
}

// openKernel returns the interface of a row, with its key and its port. client speaks with
// the row's namespace, and is closed with the device. The error is fs.ErrNotExist if the
// interface is none of the kernel's WireGuard; the client is the caller's then.
func openKernel(client *wgctrl.Client, row desired.WireGuard, private wgtypes.Key) (*kernelDevice, error) {
	have, err := client.Device(row.Link)
	if err != nil {
		return nil, err
	}
	if have.Type != wgtypes.LinuxKernel {
		return nil, fmt.Errorf("interface %s is a %s: %w", row.Link, have.Type, fs.ErrNotExist)
	}
	d := &kernelDevice{client: client, name: row.Link, public: private.PublicKey(), port: int(row.Port), said: map[wgtypes.Key]netip.AddrPort{}}
	if have.PublicKey == d.public && have.ListenPort == d.port {
		return d, nil
	}
	if err := client.ConfigureDevice(row.Link, wgtypes.Config{PrivateKey: &private, ListenPort: &d.port}); err != nil {
		return nil, fmt.Errorf("listen on UDP port %d for other hosts: %w", row.Port, err)
	}
	return d, nil
}

func (d *kernelDevice) peers() (map[wgtypes.Key]peer, error) {
	have, err := d.client.Device(d.name)
	if err != nil {
		return nil, err
	}
	out := map[wgtypes.Key]peer{}
	for _, p := range have.Peers {
		one := peer{key: p.PublicKey, endpoint: d.said[p.PublicKey]}
		if len(p.AllowedIPs) == 1 { // else it is not as wanted
			one.allowed = prefixOf(p.AllowedIPs[0])
		}
		out[p.PublicKey] = one
	}
	return out, nil
}

func prefixOf(n net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits)
}

func (d *kernelDevice) change(all []change) error {
	interval := keepalive * time.Second
	var config wgtypes.Config
	for _, c := range all {
		p := wgtypes.PeerConfig{PublicKey: c.key, Remove: c.remove}
		if !c.remove {
			p.Endpoint, p.PersistentKeepaliveInterval, p.ReplaceAllowedIPs = net.UDPAddrFromAddrPort(c.endpoint), &interval, true
			p.AllowedIPs = []net.IPNet{{IP: c.allowed.Addr().AsSlice(), Mask: net.CIDRMask(c.allowed.Bits(), c.allowed.Addr().BitLen())}}
		}
		config.Peers = append(config.Peers, p)
	}
	if err := d.client.ConfigureDevice(d.name, config); err != nil {
		return err
	}
	for _, c := range all {
		if c.remove {
			delete(d.said, c.key)
		} else {
			d.said[c.key] = c.endpoint
		}
	}
	return nil
}

// lost tells whether the interface was taken away, or is another with its name.
func (d *kernelDevice) lost() bool {
	have, err := d.client.Device(d.name)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return err == nil && (have.PublicKey != d.public || have.ListenPort != d.port)
}

func (d *kernelDevice) close() { _ = d.client.Close() } // the kernel goes on
