package networks

import (
	"context"
	"fmt"
	"time"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/driver/host"
	"github.com/linkspan/linkspan/internal/driver/null"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// Predefine makes the networks that are always there. The default network begins
// with the addresses of the device that was found, if there is no such network yet
// or the device is the user's; else its addresses follow what is stored. ownPools
// says that subnets come from pools that the user named: a default network whose
// device is gone then gives up a subnet from elsewhere.
func (m *Manager) Predefine(ctx context.Context, b DefaultBridge, found Device, ownPools bool) error {
	if _, exists := m.engine.Snapshot().NetworkNamed(model.NetworkBridge); found.Users || !exists {
		settled, ignored, err := b.Settle(found)
		if err != nil {
			return err
		}
		if ignored != nil {
			name, _ := b.Device()
			m.log.Warn("a setting is ignored", "op", "daemon.start", "bridge", name, "err", ignored)
		}
		b = settled
	}
	maker := m.maker
	maker.Renumber = !found.There && ownPools
	host := predefined(model.NetworkHost, host.Driver{})
	none := predefined(model.NetworkNone, null.Driver{})
	if _, err := m.engine.Do(ctx, ops.All(ops.SetHost(maker.Host), maker.Predefine(b.Network(), host, none))); err != nil {
		return fmt.Errorf("set up the default networks: %w", err)
	}
	return nil
}

func predefined(name string, kind driver.Driver) model.Network {
	return model.Network{
		ID: model.NetworkID(ids.New()), Name: name, Driver: kind.Name(), Scope: Scope(model.Network{}),
		Created: time.Now().UTC(), IPv4: true, IPAM: model.IPAM{Driver: "default"},
	}
}
