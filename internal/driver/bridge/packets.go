package bridge

import (
	"fmt"
	"strconv"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// OptionPackets is how large packets may be on the network before they are cut to
// its MTU, in bytes, whatever the rule of packetSizes says.
const OptionPackets = "com.linkspan.gso.max_size"

// Sizes of packets, in bytes.
const (
	usualPackets   = 65536  // the kernel's default (GSO_LEGACY_MAX_SIZE)
	largePackets   = 196608 // beyond it, throughput grows no more
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

// packetSizes decides how large packets are on a network: as large as the
// smallest way out allows. One that is larger would be cut up in software on its
// way out, which costs more than large packets save. An internal network has no
// way out.
func packetSizes(c config, v driver.View) desired.PacketSizes {
	host := v.Host.Packets
	return desired.PacketSizes{
		IPv4: packetSize(c, v.Network, host.Large4, host.Out4),
		IPv6: packetSize(c, v.Network, host.Large6, host.Out6),
	}
}

// packetSize decides it for one family, of which out is what the ways out take. A
// way out that takes less than usual makes nothing smaller: Docker's networks are
// not smaller there either.
func packetSize(c config, n model.Network, possible bool, out int) int {
	size := min(out, largePackets)
	if n.Internal {
		size = largePackets
	}
	if c.packets != 0 {
		size = c.packets
	}
	if !possible || size <= usualPackets {
		return 0
	}
	return size
}
