// Hail sends a datagram to ADDRESS:PORT, which may be a broadcast address, a second one
// to who has answered, and prints who that was, and what was said.
package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hail:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: hail ADDRESS:PORT")
	}
	to, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	p, err := net.ListenUDP("udp4", nil) // Go allows broadcasts by itself
	if err != nil {
		return err
	}
	defer p.Close() //nolint:errcheck // the end
	for _, word := range []string{"one", "two"} {
		if to, err = say(p, to, word); err != nil {
			return err
		}
	}
	return nil
}

// say sends a word, again if nobody answers, and returns who does.
func say(p *net.UDPConn, to netip.AddrPort, word string) (netip.AddrPort, error) {
	answer := make([]byte, 1000)
	for range 10 {
		if _, err := p.WriteToUDPAddrPort([]byte(word+"\n"), to); err != nil {
			return to, err
		}
		if err := p.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return to, err
		}
		n, from, err := p.ReadFromUDPAddrPort(answer)
		if err != nil {
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		fmt.Printf("answer from %s: %s\n", from, strings.TrimSpace(string(answer[:n])))
		return from, nil
	}
	return to, fmt.Errorf("nobody answers at %s", to)
}
