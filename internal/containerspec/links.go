package containerspec

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
)

// HostAndLinks is the refusal of a link to a container that has the host's
// network.
const HostAndLinks = "conflicting options: host type networking can't be used with links. This would result in undefined behavior"

// ParseLink reads "name", "name:alias" or the form that inspect gives,
// "/name:/container/alias". Errors are Invalid, in Docker's words.
func ParseLink(text string) (name, alias string, err error) {
	parts := strings.Split(text, ":")
	switch {
	case text == "":
		return "", "", refuse("empty string specified for links")
	case len(parts) > 2:
		return "", "", model.Errorf(model.Invalid, "bad format for links: %s", text)
	case len(parts) == 1:
		name, alias = text, text
	default:
		name, alias = parts[0], parts[1]
		if strings.HasPrefix(name, "/") {
			alias = path.Base(alias)
		}
	}
	name, alias = strings.TrimPrefix(name, "/"), strings.TrimPrefix(alias, "/")
	// The alias becomes part of /etc/hosts.
	if name == "" || alias == "" || strings.ContainsAny(alias, "/# \t\r\n\x00") {
		return "", "", model.Errorf(model.Invalid, "bad format for links: %s", text)
	}
	return name, alias, nil
}

func checkLinks(r Request) error {
	for _, text := range r.Host.Links {
		if _, _, err := ParseLink(text); err != nil {
			return err
		}
	}
	return nil
}

// Exposed returns ports as ranges that neither overlap nor touch, in order.
func Exposed(set network.PortSet) []model.OpenPorts {
	var all []model.OpenPorts
	for p := range set {
		all = append(all, model.OpenPorts{Protocol: model.Protocol(p.Proto()), Ports: model.Port(p.Num())})
	}
	slices.SortFunc(all, func(a, b model.OpenPorts) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Ports.First, b.Ports.First))
	})
	var out []model.OpenPorts
	for _, p := range all {
		if n := len(out) - 1; n >= 0 && out[n].Protocol == p.Protocol && int(p.Ports.First) == int(out[n].Ports.Last)+1 {
			out[n].Ports.Last = p.Ports.Last
			continue
		}
		out = append(out, p)
	}
	return out
}
