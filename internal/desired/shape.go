package desired

import (
	"fmt"
	"strings"
	"time"
)

// Shape is how what leaves by an interface is slowed down, or lost (tc(8)). Interfaces
// without one take what there is.
type Shape struct {
	Namespace string
	Link      string
	Traffic   Traffic
	// Burst is how many bytes may leave at once, at full speed.
	Burst int
}

// Traffic is what is to become of packets, on their way in one direction. The zero value
// leaves them alone.
type Traffic struct {
	Rate  uint64        // bits a second; 0: no bound
	Delay time.Duration // that each packet waits
	Loss  uint32        // how many of a million packets are lost
}

// Key implements Row.
func (r Shape) Key() Key { return key(KindShape, where(r.Namespace), r.Link) }

// Space implements Row.
func (r Shape) Space() string { return r.Namespace }

// String implements Row.
func (r Shape) String() string {
	return fmt.Sprintf("shape %s %s%s", where(r.Namespace), r.Link, r.Traffic.text(r.Burst))
}

func (t Traffic) text(burst int) string {
	var b strings.Builder
	if t.Rate != 0 {
		fmt.Fprintf(&b, " rate %d bit/s burst %d", t.Rate, burst)
	}
	if t.Delay != 0 {
		fmt.Fprintf(&b, " delay %s", t.Delay)
	}
	if t.Loss != 0 {
		fmt.Fprintf(&b, " loss %d/1000000", t.Loss)
	}
	return b.String()
}
