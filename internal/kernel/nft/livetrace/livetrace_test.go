package livetrace

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// dropper makes a table with a chain that drops all datagrams that are sent, and counts on
// nobody to remove it: its namespace ends.
func dropper(t *testing.T) {
	t.Helper()
	c, err := wire.Dial(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	hook := wire.Attrs(nil).U32(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT).U32(unix.NFTA_HOOK_PRIORITY, 0)
	refused, err := c.Commit(t.Context(), []wire.Message{
		{Kind: unix.NFT_MSG_NEWTABLE, Flags: unix.NLM_F_CREATE, Family: unix.NFPROTO_IPV4, Attrs: wire.Attrs(nil).Str(unix.NFTA_TABLE_NAME, "theirs")},
		{Kind: unix.NFT_MSG_NEWCHAIN, Flags: unix.NLM_F_CREATE, Family: unix.NFPROTO_IPV4, Attrs: wire.Attrs(nil).Str(unix.NFTA_CHAIN_TABLE, "theirs").
			Str(unix.NFTA_CHAIN_NAME, "out").Nest(unix.NFTA_CHAIN_HOOK, hook).U32(unix.NFTA_CHAIN_POLICY, codeDrop).Str(unix.NFTA_CHAIN_TYPE, "filter")},
	})
	if err != nil || len(refused) > 0 {
		t.Fatal(err, refused)
	}
}

func send(t *testing.T, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_ = unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}) // EPERM: it is dropped
}

// tables are the names of all tables of the thread's namespace.
func tables(t *testing.T) (out []string) {
	t.Helper()
	rules, err := trace.Read(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range rules.Tables {
		out = append(out, table.String())
	}
	return out
}

// TestWatch: the packet in question is heard of at the rules of others, no other packet is,
// and nothing is left.
func TestWatch(t *testing.T) {
	host := kerneltest.New(t)
	host.Do(t, func() {
		dropper(t)
		target := netip.MustParseAddrPort("127.0.0.1:1001")
		w, err := Start(t.Context(), 0, Question{Protocol: model.UDP, Targets: []netip.AddrPort{target}})
		if err != nil {
			t.Fatal(err)
		}
		if now := tables(t); !slices.ContainsFunc(now, func(name string) bool { return strings.HasPrefix(name, "inet "+Prefix) }) {
			t.Errorf("while it runs: %q", now)
		}
		send(t, 1000)
		send(t, 1001)
		events, lost := w.Stop()
		if lost || len(events) != 2 || !events[0].Ends || events[1].Ends || events[1].ID != events[0].ID {
			t.Fatalf("%+v, lost %t", events, lost)
		}
		e := events[0]
		e.Verdict = events[1].Verdict
		if e.Table != "theirs" || e.Chain != "out" || e.Verdict != "drop" || e.Family != unix.NFPROTO_IPV4 || e.To != target || e.From.Addr() != target.Addr() || e.Out == 0 || e.ID == 0 {
			t.Errorf("%+v", e)
		}
		if now := tables(t); !slices.Equal(now, []string{"ip theirs"}) {
			t.Errorf("left behind: %q", now)
		}
	})
}

// TestTables: what marks packets is taken by the kernel, for every protocol and family.
func TestTables(t *testing.T) {
	host := kerneltest.New(t)
	host.Do(t, func() {
		for _, protocol := range []model.Protocol{"", model.TCP, model.UDP, model.SCTP} {
			w, err := Start(t.Context(), 0, Question{Protocol: protocol, From: netip.MustParseAddr("10.0.0.1"), Targets: []netip.AddrPort{
				netip.MustParseAddrPort("10.0.0.2:80"), netip.MustParseAddrPort("[fd00::2]:80"),
			}})
			if err != nil {
				t.Errorf("%q: %v", protocol, err)
				continue
			}
			w.Stop()
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(byte(unix.NFPROTO_IPV4), []byte(wire.Attrs(nil).Str(traceTable, "t").U32(traceType, typePolicy).U32(tracePolicy, 1).Bytes(traceNetwork, make([]byte, 20))))
	f.Add(byte(unix.NFPROTO_INET), []byte(wire.Attrs(nil).Nest(traceVerdict, wire.Attrs(nil).U32(verdictCode, 0xfffffffd).Str(verdictChain, "c"))))
	f.Fuzz(func(t *testing.T, family byte, attributes []byte) {
		e, err := parse(family, attributes)
		if err == nil && e.From.IsValid() != e.To.IsValid() {
			t.Errorf("%+v", e)
		}
	})
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		attributes wire.Attrs
		want       string
	}{
		{wire.Attrs(nil).U32(traceType, typeRule).Nest(traceVerdict, wire.Attrs(nil).U32(verdictCode, 0xfffffffd).Str(verdictChain, "c")), "jump c"},
		{wire.Attrs(nil).U32(traceType, typeRule).Nest(traceVerdict, wire.Attrs(nil).U32(verdictCode, 0)), "drop"},
		{wire.Attrs(nil).U32(traceType, typeRule).Bytes(traceHandle, []byte{7: 1}).Nest(traceVerdict, wire.Attrs(nil).U32(verdictCode, 0xffffffff)), "continue"},
		{wire.Attrs(nil).U32(traceType, typePolicy).U32(tracePolicy, 1), "accept"},
		{wire.Attrs(nil).U32(traceType, typeReturn), "return"},
	} {
		if e, err := parse(unix.NFPROTO_IPV4, c.attributes); err != nil || e.Verdict != c.want {
			t.Errorf("%+v, %v; want %s", e, err, c.want)
		}
	}
}
