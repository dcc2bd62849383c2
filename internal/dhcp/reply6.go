package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/linkspan/linkspan/internal/model"
)

// maxServerID bounds the DUID of a server, in bytes (RFC 8415, section 11.1).
const maxServerID = 130

// reply6 is an answer of a DHCPv6 server.
type reply6 struct {
	*dhcpv6.Message
	ServerID []byte
}

// parse6 reads an answer of that type to what a client has asked with xid. All else is an
// error.
func parse6(message []byte, xid dhcpv6.TransactionID, client dhcpv6.DUID, wanted dhcpv6.MessageType) (reply6, error) {
	m, err := dhcpv6.MessageFromBytes(message)
	if err != nil {
		return reply6{}, err
	}
	server, to := m.Options.ServerID(), m.Options.ClientID()
	if m.MessageType != wanted || m.TransactionID != xid || server == nil || to == nil || !to.Equal(client) {
		return reply6{}, errForeign
	}
	r := reply6{Message: m, ServerID: server.ToBytes()}
	if len(r.ServerID) > maxServerID {
		return reply6{}, errForeign
	}
	return r, nil
}

// refusal is errRefused with a server's own words.
func refusal(s *dhcpv6.OptStatusCode) error {
	return fmt.Errorf("%w: %s %.64q", errRefused, s.StatusCode, s.StatusMessage)
}

// lease returns what the answer gives to an association, at the time now. The error is
// errRefused if that is nothing, or says what no host can use.
func (r reply6) lease(now time.Time, iaid [4]byte) (model.Lease, error) {
	l := model.Lease{ServerID: r.ServerID, From: now}
	if s := r.Options.Status(); s != nil && s.StatusCode != iana.StatusSuccess {
		return l, refusal(s)
	}
	for _, ia := range r.Options.IANA() {
		if ia.IaId != iaid {
			continue
		}
		if s := ia.Options.Status(); s != nil && s.StatusCode != iana.StatusSuccess {
			return l, refusal(s)
		}
		for _, a := range ia.Options.Addresses() {
			if a.ValidLifetime == 0 {
				continue // it is taken back
			}
			if err := association(&l, ia, a); err != nil {
				return l, err
			}
			r.describe(&l)
			return l, nil
		}
	}
	return l, fmt.Errorf("%w: no address is in its answer", errRefused)
}

// association reads one address and how long it lives (RFC 8415, sections 14.2 and 21.4).
func association(l *model.Lease, ia *dhcpv6.OptIANA, a *dhcpv6.OptIAAddress) error {
	addr, _ := netip.AddrFromSlice(a.IPv6Addr)
	if why := unusable6(addr); why != "" {
		return fmt.Errorf("%s: %s", addr, why)
	}
	life := a.ValidLifetime
	switch {
	case life < shortest:
		return fmt.Errorf("%s for %s, which is too short", addr, life)
	case a.PreferredLifetime > life:
		return errors.New("an address that is preferred for longer than it is valid")
	}
	l.Prefix = netip.PrefixFrom(addr, addr.BitLen())
	if life >= infinite*time.Second {
		return nil
	}
	schedule(l, life, ia.T1, ia.T2, life*4/5)
	return nil
}

// describe reads name servers and search domains.
func (r reply6) describe(l *model.Lease) {
	for _, ip := range r.Options.DNS() {
		if a, ok := netip.AddrFromSlice(ip); ok && len(l.DNS) < maxServers && unusable6(a) == "" {
			l.DNS = append(l.DNS, a)
		}
	}
	l.Search = domains(r.Options.DomainSearchList())
}
