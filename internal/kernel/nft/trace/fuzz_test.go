package trace

import (
	"net"
	"testing"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// FuzzExpressions: whatever a rule holds, it is read or named, written out, and run against
// a packet, without an end other than that.
func FuzzExpressions(f *testing.F) {
	for _, e := range []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Register: 1, Data: []byte("eth0")},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Lookup{SourceRegister: 1, SetName: "s"}, &expr.Verdict{Kind: expr.VerdictJump, Chain: "c"},
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.NAT{RegAddrMin: 1}, &expr.Range{Register: 1, FromData: []byte{1}, ToData: []byte{2}},
		&expr.Target{Name: "DNAT", Rev: 2, Info: &xt.NatRange2{NatRange: xt.NatRange{Flags: 0x3, MinIP: net.IPv4(10, 0, 0, 2), MaxIP: net.IPv4(10, 0, 0, 2), MinPort: 80, MaxPort: 80}}},
		&expr.Target{Name: "MARK", Rev: 2, Info: opaque(8)}, &expr.Target{Name: "TPROXY", Rev: 1, Info: opaque(24)},
		&expr.Match{Name: "multiport", Rev: 1, Info: opaque(48)}, &expr.Match{Name: "iprange", Rev: 1, Info: opaque(72)},
		&expr.Match{Name: "tcp", Info: &xt.Tcp{DstPorts: [2]uint16{80, 80}}}, &expr.Match{Name: "conntrack", Rev: 3, Info: &xt.ConntrackMtinfo3{}},
		&expr.Match{Name: "comment", Info: new(xt.Comment)}, &expr.Match{Name: "addrtype", Rev: 1, Info: &xt.AddrTypeV1{Dest: 4}},
	} {
		b, err := expr.Marshal(unix.NFPROTO_IPV4, e)
		if err != nil {
			f.Fatal(err)
		}
		list, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_LIST_ELEM, Data: b}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(list, []byte("0123456789ab\x08\x00\x45\x00\x00\x28\x00\x00\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x50\x00\x50........"))
	}
	f.Fuzz(func(t *testing.T, list, frame []byte) {
		r := Rule{}
		r.Exprs, r.Unknown = expressions(unix.NFPROTO_IPV4, list)
		c := &Chain{Name: "c", Rules: []Rule{r}, Base: &Base{Drop: true}}
		table := &Table{Family: unix.NFPROTO_IPV4, Name: "t", Chains: []*Chain{c}, Sets: map[string]*Set{
			"s": {Name: "s", Fields: []int{4}, Elements: []Element{{Key: "\x0a\x00\x00\x01"}}},
			"r": {Name: "r", Fields: []int{4, 2}, Interval: true, Elements: []Element{{Key: "short"}}},
		}}
		table.Text(&c.Rules[0])
		result := table.Run(c, &Packet{Frame: frame})
		if len(r.Unknown) > 0 && result.Verdict == Accept && !result.Doubt {
			for _, v := range result.Visits {
				if v.Doubt == "" && v.Rule != nil {
					t.Errorf("%v is in no doubt", r.Unknown)
				}
			}
		}
	})
}

// opaque is the data of an extension that the library does not read.
func opaque(size int) *xt.Unknown {
	data := xt.Unknown(make([]byte, size))
	return &data
}

// FuzzComment: user data may be anyone's.
func FuzzComment(f *testing.F) {
	f.Add([]byte{0, 3, 'a', 'b', 0})
	f.Add([]byte{1, 200})
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := comment(data); len(got) > len(data) {
			t.Errorf("%d bytes of %d", len(got), len(data))
		}
	})
}
