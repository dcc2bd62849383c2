package portsocket

import "testing"

func FuzzParseEndpoint(f *testing.F) {
	for _, text := range []string{"tcp [::]:80", "udp 0.0.0.0:53", "sctp [fe80::1%2]:4000", "udp [::]:53 [fe80::1%2]:4000 fe80::2%2", "tcp", "x [::]:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseEndpoint(text)
		if err != nil {
			return
		}
		if back, err := ParseEndpoint(e.String()); err != nil || back != e {
			t.Errorf("%q is %+v, printed %q, which is %+v, %v", text, e, e, back, err)
		}
	})
}
