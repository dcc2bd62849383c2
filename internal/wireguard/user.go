package wireguard

import (
	"fmt"
	"maps"
	"strings"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/linkspan/linkspan/internal/desired"
)

// userDevice is WireGuard in this process: packets go through a TUN interface, and by a UDP
// socket of the namespace of the process.
type userDevice struct {
	device *device.Device
	known  map[wgtypes.Key]peer
}

// openUser takes up what is sent through a TUN interface, whose descriptor it closes in the
// end. Nobody is a peer yet.
func (o opener) openUser(fd int, row desired.WireGuard, private wgtypes.Key) (*userDevice, error) {
	native, _, err := tun.CreateUnmonitoredTUNFromFD(fd) // closes it if it fails, sooner or later
	if err != nil {
		return nil, fmt.Errorf("open interface %s: %w", row.Link, err)
	}
	says := func(format string, args ...any) {
		o.log.Debug(fmt.Sprintf(format, args...), "op", "wireguard", "link", row.Link)
	}
	d := &userDevice{
		device: device.NewDevice(sized{native, row.MTU}, o.bind(), &device.Logger{Verbosef: device.DiscardLogf, Errorf: says}),
		known:  map[wgtypes.Key]peer{},
	}
	err = d.device.IpcSet(fmt.Sprintf("private_key=%x\nlisten_port=%d\n", private[:], row.Port))
	if err == nil {
		err = d.device.Up()
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("listen on UDP port %d for other hosts: %w", row.Port, err)
	}
	return d, nil
}

// sized is an interface whose MTU is known: it is in another namespace, where the library
// would not look.
type sized struct {
	tun.Device
	mtu int
}

// MTU implements tun.Device.
func (s sized) MTU() (int, error) { return s.mtu, nil }

func (d *userDevice) peers() (map[wgtypes.Key]peer, error) { return maps.Clone(d.known), nil }

func (d *userDevice) change(all []change) error {
	var script strings.Builder
	for _, c := range all {
		script.WriteString(c.script())
	}
	if err := d.device.IpcSet(script.String()); err != nil {
		return err
	}
	for _, c := range all {
		if c.remove {
			delete(d.known, c.key)
		} else {
			d.known[c.key] = c.peer
		}
	}
	return nil
}

// lost tells whether the interface was taken away.
func (d *userDevice) lost() bool {
	select {
	case <-d.device.Wait():
		return true
	default:
		return false
	}
}

func (d *userDevice) close() { d.device.Close() }
