package kernel

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/link"
)

// Traffic reads every counter: those of published ports, of port security, and
// those of all bridges of the host's namespace, ours or not. It waits for no pass, and nothing is
// read while nobody asks.
func (k *Kernel) Traffic(ctx context.Context) (facts.Traffic, error) {
	ports, portsErr := k.firewall.Traffic(ctx)
	bridges, bridgesErr := k.bridgeTraffic(ctx)
	drops, dropsErr := k.firewall.Drops(ctx)
	return facts.Traffic{Ports: ports, Bridges: bridges, Drops: drops}, errors.Join(portsErr, bridgesErr, dropsErr)
}

// Drops reads the counters of port security alone.
func (k *Kernel) Drops(ctx context.Context) ([]facts.PortDrops, error) { return k.firewall.Drops(ctx) }

func (k *Kernel) bridgeTraffic(ctx context.Context) ([]facts.BridgeTraffic, error) {
	c, err := k.dial(ctx, k.hostFile)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return link.BridgeTraffic(c)
}
