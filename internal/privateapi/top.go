package privateapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// TopVersion is the form of Top. It grows when a field changes its meaning; a new field
// does not count.
const TopVersion = 1

// Bounds of what watchers may ask for.
const (
	MinTopInterval = 100 * time.Millisecond
	MaxTopInterval = time.Minute
)

// Top is the traffic of this host between two moments: GET
// /linkspan/v1/top?interval=1s&count=0 answers with one a line, for ever if count is 0.
type Top struct {
	Version    int
	At         time.Time
	Seconds    float64 // that rates are means of
	Containers []TopContainer
	Networks   []TopNetwork
	Ports      []TopPort
}

// Flow is what went one way, since the container started, and a second by now.
type Flow struct {
	Bytes, Packets                   uint64
	BytesPerSecond, PacketsPerSecond float64
}

// TopContainer is a container on one network.
type TopContainer struct {
	Container, ContainerID, Network, Interface string
	In, Out                                    Flow
}

// TopNetwork is the sum of the containers on a network.
type TopNetwork struct {
	Network, NetworkID string
	Containers         int
	In, Out            Flow // to and from them, what they send each other included
}

// TopPort is a published stretch of ports.
type TopPort struct {
	Container, ContainerID string
	Protocol               model.Protocol
	Address, HostPorts     string
	ContainerPorts         string
	Counted                bool // false: the kernel does not see what goes there
	Both                   Flow // both ways
	Connections            uint64
	ConnectionsPerSecond   float64
}

// maxSample bounds one line of a stream, in bytes.
const maxSample = 32 << 20

// Top calls each for one sample after another, until there were count of them, each
// returns an error, or ctx ends. A count of 0 is for ever.
func (c Client) Top(ctx context.Context, interval time.Duration, count int, each func(Top) error) error {
	q := url.Values{"interval": {interval.String()}, "count": {strconv.Itoa(count)}}
	body, err := c.stream(ctx, http.MethodGet, "/linkspan/v1/top?"+q.Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxSample)
	for seen := 0; lines.Scan(); seen++ {
		var one struct {
			Top
			Error string
		}
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return fmt.Errorf("the daemon's answer cannot be read: %w", err)
		}
		if one.Error != "" {
			return errors.New(one.Error)
		}
		if err := each(one.Top); err != nil {
			return err
		}
		if count > 0 && seen+1 == count {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return c.away(err)
	}
	return c.away(errors.New("it has ended the answer"))
}
