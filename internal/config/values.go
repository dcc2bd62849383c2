package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/ociruntimes"
)

// Values of types that pflag does not know.

// oldestAPI is the NN of the first version 1.NN of the API that is spoken at all.
const oldestAPI = 24

type apiValue struct{ to *int }

func (v apiValue) Type() string { return "1.NN" }

func (v apiValue) String() string {
	if v.to == nil || *v.to == 0 {
		return ""
	}
	return "1." + strconv.Itoa(*v.to)
}

func (v apiValue) Set(text string) error {
	minor, ok := strings.CutPrefix(text, "1.")
	n, err := strconv.ParseUint(minor, 10, 8)
	if !ok || err != nil {
		return fmt.Errorf("invalid API version %q: write 1.NN", text)
	}
	if n < oldestAPI {
		return fmt.Errorf("minimum supported API version is 1.%d: %s", oldestAPI, text)
	}
	*v.to = int(n)
	return nil
}

type markValue struct{ to **Mark }

func (v markValue) Type() string { return "mark[/mask]" }

func (v markValue) String() string {
	if v.to == nil || *v.to == nil {
		return ""
	}
	return fmt.Sprintf("%#x/%#x", (*v.to).Value, (*v.to).Mask)
}

// Set takes numbers as dockerd does: decimal, or 0x, 0o, 0b before others.
func (v markValue) Set(text string) error {
	if *v.to = nil; text == "" {
		return nil
	}
	value, mask, masked := strings.Cut(text, "/")
	m := Mark{Mask: 1<<32 - 1}
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return fmt.Errorf("invalid firewall mark %q: %w", text, err)
	}
	m.Value = uint32(n)
	if masked {
		if n, err = strconv.ParseUint(mask, 0, 32); err != nil {
			return fmt.Errorf("invalid firewall mask %q: %w", text, err)
		}
		m.Mask = uint32(n)
	}
	*v.to = &m
	return nil
}

type prefixValue struct{ to *netip.Prefix }

func (v prefixValue) Type() string { return "CIDR" }

func (v prefixValue) String() string {
	if v.to == nil || !v.to.IsValid() {
		return ""
	}
	return v.to.String()
}

func (v prefixValue) Set(text string) (err error) {
	*v.to, err = netip.ParsePrefix(text)
	return err
}

type addrValue struct{ to *netip.Addr }

func (v addrValue) Type() string { return "IP" }

func (v addrValue) String() string {
	if v.to == nil || !v.to.IsValid() {
		return ""
	}
	return v.to.String()
}

func (v addrValue) Set(text string) (err error) {
	if *v.to, err = netip.ParseAddr(text); err != nil {
		return fmt.Errorf("%s is not an ip address", text)
	}
	return nil
}

type addrsValue struct{ to *[]netip.Addr }

func (v addrsValue) Type() string { return "IP" }

func (v addrsValue) String() string {
	if v.to == nil {
		return ""
	}
	return joined(*v.to, netip.Addr.String)
}

func (v addrsValue) Set(text string) error {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Errorf("%s is not an ip address", text)
	}
	*v.to = append(*v.to, a)
	return nil
}

type poolsValue struct{ to *[]Pool }

func (v poolsValue) Type() string { return "base=CIDR,size=BITS" }

func (v poolsValue) String() string {
	if v.to == nil {
		return ""
	}
	return joined(*v.to, func(p Pool) string { return fmt.Sprintf("base=%s,size=%d", p.Base, p.Size) })
}

func (v poolsValue) Set(text string) error {
	var p Pool
	for _, field := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(field, "=")
		var err error
		switch key {
		case "base":
			p.Base, err = netip.ParsePrefix(value)
		case "size":
			p.Size, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("unknown field %q: write base=CIDR,size=BITS", key)
		}
		if err != nil {
			return err
		}
	}
	if !p.Base.IsValid() || p.Size < p.Base.Bits() || p.Size > p.Base.Addr().BitLen() {
		return fmt.Errorf("invalid pool %q: size must be between the base's %d and %d bits", text, max(p.Base.Bits(), 0), p.Base.Addr().BitLen())
	}
	*v.to = append(*v.to, p)
	return nil
}

// joined returns a list as text.
func joined[T any](list []T, text func(T) string) string {
	var out []string
	for _, one := range list {
		out = append(out, text(one))
	}
	return strings.Join(out, " ")
}

// optionsValue is key=value; the value may have commas.
type optionsValue struct{ to map[string]string }

func (v optionsValue) Type() string { return "key=value" }

func (v optionsValue) String() string {
	return joined(slices.Sorted(maps.Keys(v.to)), func(key string) string { return key + "=" + v.to[key] })
}

func (v optionsValue) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("invalid option %q: write key=value", text)
	}
	v.to[key] = value
	return nil
}

// sizeValue is a number of bytes as people write them: "64M" is 64 MiB.
type sizeValue struct{ to *int64 }

func (v sizeValue) Type() string { return "bytes" }

func (v sizeValue) String() string {
	if v.to == nil || *v.to == 0 {
		return ""
	}
	return units.BytesSize(float64(*v.to))
}

func (v sizeValue) Set(text string) (err error) {
	*v.to, err = units.RAMInBytes(text)
	return err
}

// truthsValue is name=true or name=false; a name alone is true.
type truthsValue struct{ to map[string]bool }

func (v truthsValue) Type() string { return "name=bool" }

func (v truthsValue) String() string {
	return joined(slices.Sorted(maps.Keys(v.to)), func(name string) string { return name + "=" + strconv.FormatBool(v.to[name]) })
}

func (v truthsValue) Set(text string) error {
	name, value, given := strings.Cut(text, "=")
	if !given {
		value = "true"
	}
	on, err := strconv.ParseBool(value)
	if err != nil || name == "" {
		return fmt.Errorf("invalid feature %q: write name=true or name=false", text)
	}
	v.to[name] = on
	return nil
}

// runtimesValue is name=path or, from a file, name={…}.
type runtimesValue struct {
	to *map[string]ociruntimes.Definition
}

func (v runtimesValue) Type() string { return "name=path" }

func (v runtimesValue) String() string {
	if v.to == nil {
		return ""
	}
	return joined(slices.Sorted(maps.Keys(*v.to)), func(name string) string { return name + "=" + (*v.to)[name].Path })
}

func (v runtimesValue) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
	var d ociruntimes.Definition
	switch {
	case !ok || name == "" || value == "":
		return fmt.Errorf("invalid runtime argument: %s", text)
	case strings.HasPrefix(value, "{"):
		if err := json.Unmarshal([]byte(value), &d); err != nil {
			return fmt.Errorf("runtime %s: %w", name, err)
		}
	default:
		d.Path = value
	}
	if _, twice := (*v.to)[name]; twice {
		return fmt.Errorf("runtime '%s' was already defined", name)
	}
	if *v.to == nil {
		*v.to = map[string]ociruntimes.Definition{}
	}
	(*v.to)[name] = d
	return nil
}
