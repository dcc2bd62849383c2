package networks

import (
	"cmp"
	"slices"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// Service is what one service has on a network over hosts.
type Service struct {
	// ServiceEndpoint is that of one of its tasks; without a name for containers that run none.
	model.ServiceEndpoint
	Tasks []driver.Member // that are ready for requests, on all hosts
}

// Services returns the services with a task on the network that is ready, by name, and first the
// plain containers there. A network of one host has none.
func (v View) Services() (out []Service) {
	if !v.Overlay() {
		return nil
	}
	at := map[string]int{}
	for _, m := range driver.Members(v.at, v.known) {
		s := model.ServiceEndpoint{}
		if m.Service != nil {
			s = *m.Service
		}
		if m.Service != nil && !m.Serving {
			continue
		}
		i, known := at[s.Name]
		if !known {
			i = len(out)
			at[s.Name] = i
			out = append(out, Service{ServiceEndpoint: s})
		}
		out[i].Tasks = append(out[i].Tasks, m)
	}
	slices.SortFunc(out, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
