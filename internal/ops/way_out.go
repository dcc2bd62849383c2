package ops

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
)

// gatewayNetwork is the bridge by which containers leave whose networks lead nowhere,
// though they are not internal. Docker calls it so, and makes it when it is needed.
const gatewayNetwork = "docker_gwbridge"

// wayOut gives a sandbox that is up an endpoint on the gateway bridge if it needs one, and
// takes it away if it does not. It is needed while a network reaches over hosts, or one whose
// driver is outside names no way out, nor says that none is needed, and no other network has
// one.
func wayOut(tx Tx, id model.SandboxID) error {
	var has *model.Endpoint
	needs := false
	var others []gateway.Member
	for _, m := range gateway.Members(tx.View(), tx.Facts(), id) {
		if m.Endpoint.WayOut {
			has = &m.Endpoint
			continue
		}
		others = append(others, m)
		j := m.Learned.Joined
		needs = needs || (m.Network.Overlay() || j != nil && !j.Alone) && !m.Network.Internal
	}
	for _, f := range model.Families {
		if _, _, ok := gateway.Of(others, f); ok {
			needs = false
		}
	}
	switch {
	case needs == (has != nil):
		return nil
	case has != nil:
		tx.DeleteEndpoint(has.ID)
		return nil
	}
	n, err := ensureGatewayNetwork(tx)
	if err != nil {
		return withPrefix("error creating external connectivity network: ", err)
	}
	sb, _ := tx.View().Sandbox(id)
	return attach(tx, model.Endpoint{
		ID: model.EndpointID(computedID("gateway", string(id))), Network: n.ID, Sandbox: sb.ID, Order: nextOrder(tx, id), WayOut: true,
	})
}

// ensureGatewayNetwork returns the gateway bridge, and makes it if it is not there.
func ensureGatewayNetwork(tx Tx) (model.Network, error) {
	if n, there := tx.View().NetworkNamed(gatewayNetwork); there {
		return n, nil
	}
	d, err := tx.Maker.Drivers.Find(tx.Maker.Drivers.Default())
	if err != nil {
		return model.Network{}, err
	}
	leads, ok := d.(driver.GatewayMaker)
	if !ok {
		return model.Network{}, model.Errorf(model.Unfit, "networks of driver %s lead nobody else out", d.Name())
	}
	n := model.Network{
		ID: model.NetworkID(computedID("network", gatewayNetwork, tx.Facts().Host.Instance)), Name: gatewayNetwork, Driver: d.Name(),
		Created: tx.Now, IPv4: true, Options: leads.GatewayOptions(gatewayNetwork),
	}
	if err := tx.Maker.Create(n, model.IPv4, model.IPv6)(tx); err != nil {
		return n, err
	}
	n, _ = tx.View().Network(n.ID)
	return n, nil
}

// EnsureGateway is the op that makes the gateway bridge if it is not there.
func EnsureGateway(tx Tx) error {
	_, err := ensureGatewayNetwork(tx)
	return err
}

// computedID returns the ID of what the engine makes for itself. An op that runs again
// computes the same.
func computedID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p + "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// dropWaysOut forgets the endpoints of a sandbox that lead it out: it goes down.
func dropWaysOut(tx Tx, id model.SandboxID) {
	for e := range tx.View().EndpointsOf(id) {
		if e.WayOut {
			tx.DeleteEndpoint(e.ID)
		}
	}
}
