package message

import (
	"slices"
	"testing"

	"github.com/miekg/dns"
)

func TestScan(t *testing.T) {
	question := new(dns.Msg).SetQuestion("x.test.", dns.TypeA)
	end := question.Len()
	base, _ := new(dns.Msg).SetReply(question).Pack()
	with := func(answers, extras byte, tail ...byte) []byte {
		m := append(slices.Clone(base), tail...)
		m[7], m[11] = answers, extras
		return m
	}
	a := []byte{0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1}
	opt := []byte{0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		what string
		msg  []byte
		ok   bool
	}{
		{"nothing", base, true},
		{"a record", with(1, 0, append([]byte{0xc0, 12}, a...)...), true},
		{"a name of its own", with(1, 0, append([]byte{1, 'y', 0xc0, 12}, a...)...), true},
		{"a pointer to itself", with(1, 0, append([]byte{0xc0, byte(end)}, a...)...), false},
		{"a pointer ahead", with(1, 0, append([]byte{0xc0, byte(end) + 4}, a...)...), false},
		{"a pointer into its own name", with(1, 0, append([]byte{1, 'y', 0xc0, byte(end)}, a...)...), false},
		{"a pointer into the header", with(1, 0, append([]byte{0xc0, 4}, a...)...), false},
		{"half a pointer", with(1, 0, 0xc0), false},
		{"fewer than it says", with(2, 0, append([]byte{0xc0, 12}, a...)...), false},
		{"data beyond the end", with(1, 0, append([]byte{0xc0, 12}, a[:13]...)...), false},
		{"OPT", with(0, 1, opt...), true},
		{"OPT twice", with(0, 2, append(slices.Clone(opt), opt...)...), false},
		{"OPT among the answers", with(1, 0, opt...), false},
	} {
		o, err := scan(c.msg, end, dns.TypeA)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
		if c.what == "OPT" && o.Rcode != 16 {
			t.Errorf("%s: Rcode %d", c.what, o.Rcode)
		}
	}
}
