package ops

import (
	"fmt"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// RemoveNetwork returns the op that removes the network that term names.
// Containers that run keep their network; one that is stopped remembers that it
// wants a network of that name.
func RemoveNetwork(term string) Op {
	return func(tx Tx) error {
		n, err := tx.View().FindNetwork(term)
		if err != nil {
			return err
		}
		if err := removable(tx, n); err != nil {
			return err
		}
		remove(tx, n)
		return nil
	}
}

// remove removes a network whose containers are all down.
func remove(tx Tx, n model.Network) {
	for e := range tx.View().EndpointsOn(n.ID) {
		if sb, ok := tx.View().Sandbox(e.Sandbox); ok {
			sb.Pending = append(sb.Pending[:len(sb.Pending):len(sb.Pending)], e.Spec(n.Name))
			tx.PutSandbox(sb)
		}
		tx.DeleteEndpoint(e.ID)
	}
	tx.DeleteNetwork(n.ID)
}

// removable refuses to remove a network that is needed.
func removable(tx Tx, n model.Network) error {
	if n.Predefined() {
		return model.Errorf(model.Forbidden, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	var active []string
	for e := range tx.View().EndpointsOn(n.ID) {
		if sb, ok := tx.View().Sandbox(e.Sandbox); ok && e.Up {
			active = append(active, fmt.Sprintf("name:%q id:%q", sb.Name, model.Short(e.ID)))
		}
	}
	if len(active) > 0 {
		return &model.Error{Op: "network.remove", Subject: "network " + n.Name, Kind: model.Forbidden,
			Err: fmt.Errorf("error while removing network: network %s has active endpoints (%s)", n.Name, strings.Join(active, ", ")),
			Way: "stop these containers or disconnect them (docker network disconnect " + n.Name + " NAME)"}
	}
	for other := range tx.View().Networks() {
		if n.ConfigOnly && other.ConfigFrom == n.Name {
			return &model.Error{Op: "network.remove", Subject: "network " + n.Name, Kind: model.Forbidden,
				Err: fmt.Errorf("configuration network %q is in use", n.Name),
				Who: "network " + other.Name + " was made from it"}
		}
	}
	return nil
}
