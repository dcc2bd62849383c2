package kernel

import (
	"context"
	"fmt"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/observe"
)

// Observe learns about the host: its interfaces, which prefixes it reaches directly, not counting
// interfaces of ours, how large packets may be, its name servers, whether it
// forwards, and which boot this is. It changes nothing.
func (k *Kernel) Observe(ctx context.Context) (facts.Host, error) {
	p, err := k.begin(ctx, nil)
	if err != nil {
		return facts.Host{}, err
	}
	defer p.end()
	h := facts.Host{Instance: k.instance, BootID: observe.BootID()}
	if err := observe.Links(p.spaces[desired.HostNamespace].conn, k.instance, &h); err != nil {
		return facts.Host{}, fmt.Errorf("read the host's routes: %w", err)
	}
	if h.Resolvers, err = observe.Resolvers(k.resolvConf); err != nil {
		return facts.Host{}, err
	}
	err = k.netns.Enter(ctx, k.hostFile, func() error {
		tree := k.sysctls.Open()
		defer tree.Close()
		observe.Settings(tree, &h)
		return nil
	})
	return h, err
}

// Interfaces returns the host's interfaces with their addresses, in the kernel's order.
func (k *Kernel) Interfaces(ctx context.Context) ([]facts.Interface, error) {
	p, err := k.begin(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer p.end()
	return observe.Interfaces(p.spaces[desired.HostNamespace].conn)
}
