package bridge

import (
	"fmt"
	"strconv"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// OptionPackets is how large packets may be on the network before they are cut to
// its MTU, in bytes, whatever the rules of containerPackets and hostPackets say.
const OptionPackets = "com.linkspan.gso.max_size"

// Sizes of packets, in bytes.
const (
	usualPackets   = 65536  // the kernel's default (GSO_LEGACY_MAX_SIZE)
	largestPackets = 524280 // what the kernel takes (GSO_MAX_SIZE)
)

// packetOption reads OptionPackets; 0 if it is not given.
func packetOption(n model.Network) (int, error) {
	text, given := n.Options[OptionPackets]
	if !given {
		return 0, nil
	}
	size, err := strconv.Atoi(text)
	if err != nil {
		return 0, model.Errorf(model.Invalid, "failed to parse %s value: %v (%s)", OptionPackets, text, err)
	}
	if size < usualPackets || size > largestPackets {
		return 0, &model.Error{Kind: model.Invalid, Err: fmt.Errorf("invalid %s: %d", OptionPackets, size),
			Way: fmt.Sprintf("choose a number of bytes from %d to %d", usualPackets, largestPackets)}
	}
	return size, nil
}

// containerPackets decides how large the packets are that a container sends: as
// large as the smallest way out allows. One that is larger would be cut up in
// software on its way out, which costs more than large packets save. An internal
// network has no way out.
func containerPackets(c config, v driver.View) desired.PacketSizes {
	host := v.Packets
	if v.Network.Internal {
		return hostPackets(c, v)
	}
	// A way out that takes less than usual makes nothing smaller: Docker's networks
	// are not smaller there either.
	return packetSizes(c, host, min(host.Out4, driver.LargePackets), min(host.Out6, driver.LargePackets))
}

// hostPackets decides it for the bridge and for the host's ends of its ports. What
// leaves by them goes to containers, and need never be cut up.
func hostPackets(c config, v driver.View) desired.PacketSizes {
	return packetSizes(c, v.Packets, driver.LargePackets, driver.LargePackets)
}

// packetSizes are sizes for each family, as far as the kernel takes them and they
// are more than usual. Those that the user asks for come first.
func packetSizes(c config, host facts.Packets, size4, size6 int) desired.PacketSizes {
	if c.uplink != "" {
		size4, size6 = usualPackets, usualPackets // frames go on to another's interface
	}
	if c.packets != 0 {
		size4, size6 = c.packets, c.packets
	}
	var out desired.PacketSizes
	if host.Large4 && size4 > usualPackets {
		out.IPv4 = size4
	}
	if host.Large6 && size6 > usualPackets {
		out.IPv6 = size6
	}
	return out
}
