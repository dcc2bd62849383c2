package wireguard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/wireguard/key"
)

// encryptor is an interface that encrypts.
type encryptor interface {
	peers() (map[wgtypes.Key]peer, error)
	change(all []change) error
	// lost tells whether it is not the interface any more that it was.
	lost() bool
	close()
}

// place is an interface by name.
type place struct{ namespace, link string }

// tunnel is an interface that rows are about.
type tunnel struct {
	device encryptor         // nil while it is not open
	row    desired.WireGuard // with which it was opened
	space  string            // which namespace it was in
}

// opener opens interfaces.
type opener struct {
	namespaces Namespaces
	bind       func() conn.Bind // how packets leave this process
	log        *slog.Logger
}

// follow opens a tunnel's interface if it is not open as it should be, and makes its peers so. It
// returns what was not as wanted. Unless dry, it is so afterwards.
func (o opener) follow(ctx context.Context, t *tunnel, row desired.WireGuard, rows []desired.WireGuardPeer, dry bool) (wrong []string, err error) {
	space, err := o.namespaces.Identity(row.Namespace)
	if err != nil {
		return nil, err
	}
	if t.device == nil || t.row != row || t.space != space || t.device.lost() {
		wrong = append(wrong, row.String()+": not open")
		if dry {
			return wrong, nil
		}
		t.close()
		if t.device, err = o.open(ctx, row); err != nil {
			return wrong, err
		}
		t.row, t.space = row, space
	}
	want, err := peersOf(rows)
	if err != nil {
		return wrong, err
	}
	have, err := t.device.peers()
	if err != nil {
		return wrong, err
	}
	todo := changes(have, want)
	for _, c := range todo {
		wrong = append(wrong, c.String())
	}
	if dry || len(todo) == 0 {
		return wrong, nil
	}
	return wrong, t.device.change(todo)
}

// open opens the interface of a row: the kernel's, or one that the kernel leaves to us.
func (o opener) open(ctx context.Context, row desired.WireGuard) (encryptor, error) {
	pair, err := key.Load(row.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if pair.Public != row.PublicKey {
		return nil, errors.New("the private key in " + row.KeyFile + " is not that of the public key " + row.PublicKey)
	}
	private := wgtypes.Key(pair.Private)
	var client *wgctrl.Client
	err = o.namespaces.Do(ctx, row.Namespace, func() (err error) {
		client, err = wgctrl.New()
		return err
	})
	if err != nil {
		return nil, err
	}
	d, err := openKernel(client, row, private)
	if err == nil {
		return d, nil
	}
	if err = errors.Join(err, client.Close()); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fd, err := o.namespaces.OpenTUN(ctx, row.Namespace, row.Link)
	if err != nil {
		return nil, err
	}
	own, err := o.openUser(fd, row, private)
	if err != nil {
		return nil, err
	}
	return own, nil
}

// close lets go of the interface.
func (t *tunnel) close() {
	if t.device != nil {
		t.device.close()
		t.device = nil
	}
}
